-- What ngx.say writes becomes the body of the response.
ngx.say("Hello from Lua, inside nginx worker process ", ngx.worker.pid(), ".")
ngx.say("You asked for ", ngx.var.uri, " with ", ngx.req.get_method(), ".")

-- Arguments and headers of the request are Lua tables.
local name = ngx.req.get_uri_args().name or "stranger"
ngx.say("Welcome, ", name, "! (try ?name=…)")

-- Counts a request body as it comes, and says so twice: in its own response,
-- and to whoever watches. curl shows a response while it still sends; browsers
-- do not, so the page asks with a second request, /run/upload?watch=NAME.
local uploads = require("uploads")

local function watch(name)
    local upload, last
    for _ = 1, 1200 do -- at most two minutes
        upload = upload or uploads[name]
        if upload and upload.bytes ~= last then
            last = upload.bytes
            ngx.say(last)
            ngx.flush()
        end
        if upload and upload.done then
            return
        end
        ngx.sleep(0.1)
    end
end

if ngx.var.arg_watch then
    watch(ngx.var.arg_watch)
    return
end

local sock, err = ngx.req.socket()
if not sock then
    ngx.say("Nothing to count: ", err, ".")
    ngx.say("In a shell: curl -T some.file http://", ngx.var.http_host, "/run/upload")
    return
end
sock:settimeout(10000)

local name = ngx.var.arg_name or ngx.var.request_id
local upload = { bytes = 0 }
uploads[name] = upload

local pieces, reported = 0, 0
while true do
    local data
    data, err = sock:receiveany(65536)
    if not data then
        break
    end
    pieces = pieces + 1
    upload.bytes = upload.bytes + #data
    if upload.bytes - reported >= 4 * 1024 * 1024 then
        reported = upload.bytes
        ngx.say(reported, " bytes ...")
        ngx.flush(true)
    end
    ngx.sleep(0.002) -- dawdle, or a local upload would be over at once
end
upload.done = true
uploads[name] = nil

if err == "closed" then -- the end of the body, that is
    ngx.say(upload.bytes, " bytes in ", pieces, " pieces")
else
    ngx.say("the upload broke off after ", upload.bytes, " bytes: ", err)
end

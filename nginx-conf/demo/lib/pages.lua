-- The demo's HTML pages: templates of demo/html with {{names}} filled in. The
-- files are read for each request, so an edit shows on the next load; a server
-- that cares about speed would keep them.
local catalogue = require("catalogue")
local highlight = require("highlight")

local M = {}

local function read(name)
    local file, err = io.open(ngx.config.prefix() .. "demo/" .. name, "rb")
    if not file then
        error(err)
    end
    local content = file:read("*a")
    file:close()
    return content
end

local function fill(template, values)
    return (template:gsub("{{(%w+)}}", values))
end

local function send(values)
    ngx.header.content_type = "text/html; charset=utf-8"
    ngx.print(fill(read("html/layout.html"), values))
end

local function version()
    local number = ngx.config.nginx_version
    return string.format("%d.%d.%d", math.floor(number / 1000000),
        math.floor(number / 1000) % 1000, number % 1000)
end

local function address()
    return ngx.var.server_addr .. ":" .. ngx.var.server_port
end

function M.start()
    local cards = {}
    for _, example in ipairs(catalogue) do
        cards[#cards + 1] = fill(
            '<a class="card" href="/example/{{name}}"><strong>{{title}}</strong><span>{{short}}</span></a>',
            example)
    end
    send({
        title = "ngx-cosocket",
        body = fill(read("html/start.html"), {
            cards = table.concat(cards, "\n"),
            nginx = version(),
            pid = ngx.worker.pid(),
        }),
    })
end

function M.example(name)
    local at
    for i, example in ipairs(catalogue) do
        if example.name == name then
            at = i
        end
    end
    if not at then
        return ngx.exit(ngx.HTTP_NOT_FOUND)
    end

    local example = catalogue[at]
    local function link(to, format)
        return to and fill(format, to) or "<span></span>"
    end
    local play = read("html/" .. (example.page or "run") .. ".html")
    send({
        title = example.title .. " - ngx-cosocket",
        body = fill(read("html/example.html"), {
            number = at,
            count = #catalogue,
            title = example.title,
            text = example.text,
            source = highlight.lua(read("examples/" .. name .. ".lua")),
            name = name,
            play = fill(play, { name = name, address = address() }),
            back = link(catalogue[at - 1], '<a href="/example/{{name}}">&larr; {{title}}</a>'),
            onward = link(catalogue[at + 1], '<a href="/example/{{name}}">{{title}} &rarr;</a>'),
        }),
    })
end

return M

-- Lua source to HTML with <b> for keywords, <i> for comments, <q> for strings
-- and <u> for ngx names, which style.css colours.
local M = {}

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil
        not or repeat return then true until while]]):gmatch("%a+") do
    keywords[word] = true
end

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

function M.escape(text)
    return (text:gsub('[&<>"]', entities))
end

local function tag(name, text)
    return "<" .. name .. ">" .. M.escape(text) .. "</" .. name .. ">"
end

-- Each takes the source and a position and returns the end of its token, or nil.
local function comment(source, at)
    if source:sub(at, at + 1) ~= "--" then
        return nil
    end
    local _, stop = source:find("^%-%-%[(=*)%[.-%]%1%]", at)
    return stop or select(2, source:find("^[^\n]*", at))
end

local function text(source, at)
    local quote = source:sub(at, at)
    if quote == "[" then
        return select(2, source:find("^%[(=*)%[.-%]%1%]", at))
    elseif quote ~= '"' and quote ~= "'" then
        return nil
    end
    local stop = at + 1
    while stop <= #source do
        local char = source:sub(stop, stop)
        if char == quote then
            return stop
        end
        stop = stop + (char == "\\" and 2 or 1)
    end
    return #source
end

function M.lua(source)
    local out, at = {}, 1
    while at <= #source do
        local stop = comment(source, at)
        local kind = stop and "i"
        if not stop then
            stop = text(source, at)
            kind = stop and "q"
        end
        if not stop then
            stop = select(2, source:find("^[%a_][%w_]*", at))
            if stop then
                local word = source:sub(at, stop)
                if word == "ngx" then
                    stop = select(2, source:find("^[%w_.]+", at))
                    kind = "u"
                elseif keywords[word] then
                    kind = "b"
                end
            end
        end
        stop = stop or at
        local token = source:sub(at, stop)
        out[#out + 1] = kind and tag(kind, token) or M.escape(token)
        at = stop + 1
    end
    return table.concat(out)
end

return M

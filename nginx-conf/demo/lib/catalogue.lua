-- The examples in the order in which the pages list them: the name is that of
-- the file in demo/examples and of the path below /run and /example. `text` is
-- HTML; `page` the file of demo/html that lets one try it, if it is not run.html.
return {
    {
        name = "hello",
        title = "Hello",
        short = "The smallest handler: Lua writes the response.",
        text = [[<p><code>content_by_lua_file</code> hands a request to a Lua file. The file is
compiled once per worker; each request runs it in a coroutine of its own.</p>]],
    },
    {
        name = "socket",
        title = "A first conversation",
        short = "Bind, connect, send, receive, close, each with its error check.",
        text = [[<p>The five steps of any TCP client. Reads like a blocking program, but
<code>connect</code>, <code>send</code> and <code>receive</code> let the worker do other work whenever
the network has nothing for them yet.</p>]],
    },
    {
        name = "http",
        title = "Speaking HTTP",
        short = "A client for a second server block of this very nginx.",
        text = [[<p><code>receiveuntil</code> reads up to a pattern, here the empty line that ends the
header, and <code>receive(n)</code> exactly <em>n</em> bytes. How the network cut the data into packets
never shows.</p>]],
    },
    {
        name = "https",
        title = "Speaking HTTPS",
        short = "TLS with the certificate checked, and what a wrong one gives.",
        text = [[<p><code>sslhandshake</code> turns a connection into TLS. The name goes to the server
(SNI) and is what the certificate must be for; a failed check closes the connection.</p>]],
    },
    {
        name = "certificate",
        title = "A certificate from Redis",
        short = "Lua waits for Redis inside of a TLS handshake.",
        text = [[<p><code>ssl_certificate_by_lua_file</code> runs while OpenSSL waits for the
server's certificate, and may wait itself: nginx and OpenSSL need no patches for it. The code of the
handshake is in <code>demo/handshake.lua</code>; this is the client.</p>]],
    },
    {
        name = "dns",
        title = "A DNS query by hand",
        short = "UDP: a packet out, a packet in.",
        text = [[<p><code>ngx.socket.udp</code> sends and receives datagrams, with a timeout, and without
holding up the worker. (To connect to a host by name you need none of this: the <code>resolver</code>
directive does it.)</p>]],
    },
    {
        name = "redis",
        title = "Speaking Redis",
        short = "A client for a key-value store, with a pipeline.",
        text = [[<p>Another protocol, the same few calls. <code>make run</code> started a small key-value
server for it; <code>make run REDIS=host:port</code> talks to a real Redis.</p>]],
    },
    {
        name = "log",
        title = "A log that waits",
        short = "Writing to a store when the request is over.",
        text = [[<p><code>log_by_lua_file</code> may wait, too: the request is over, its client has
been served, and a copy of it stays readable until the line is written. No timer is needed. Run it twice:
the second answer shows what was logged of the first.</p>]],
    },
    {
        name = "reuse",
        title = "Connections are reused",
        short = "The connection pool, seen through <code>getreusedtimes</code>.",
        text = [[<p>Opening a connection for each request costs a round trip and a port.
<code>setkeepalive</code> keeps it for the next one. Run it again: the count goes on.</p>]],
    },
    {
        name = "many",
        title = "Many waits at once",
        short = "Ten slow answers in the time of one.",
        text = [[<p>One worker process is behind this page. It asks itself ten questions, and each
answer takes half a second. If waiting blocked it, it could not even answer the first.</p>]],
    },
    {
        name = "parallel",
        title = "Fetching in parallel",
        short = "One light thread for each question.",
        text = [[<p><code>ngx.thread.spawn</code> runs a function beside the handler; each light thread
waits on its own. <code>ngx.thread.wait</code> gives the result of whichever ends first.</p>]],
    },
    {
        name = "refused",
        title = "When connect fails",
        short = "Four ways not to get a connection, and what you are told.",
        text = [[<p>Errors are values: <code>nil</code> and a message, in the words that existing Lua
libraries check for.</p>]],
    },
    {
        name = "timeout",
        title = "When nobody answers",
        short = "A read timeout, and going on after it.",
        text = [[<p>Connecting, sending and reading each have a timeout. After a read timeout the
connection stays open, so waiting again is possible.</p>]],
    },
    {
        name = "upload",
        page = "upload",
        title = "An upload, as it arrives",
        short = "The request body as a stream, with a live count.",
        text = [[<p><code>ngx.req.socket()</code> reads the request body piece by piece, whether it has a
length, comes in chunks or over HTTP/2. nginx takes in no more than Lua has read: an upload of any size
passes through in a few kilobytes, and this reader, which dawdles on purpose, holds the client back.</p>]],
    },
    {
        name = "websocket",
        page = "websocket",
        title = "A WebSocket echo",
        short = "The client's connection, raw, in both directions.",
        text = [[<p><code>ngx.req.socket(true)</code> hands over the whole connection. What comes and goes on
it is up to Lua: here the frames of WebSocket. Real programs leave these to a library such as
lua-resty-websocket, which runs as it is.</p>]],
    },
}

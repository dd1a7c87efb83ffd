//! Warns about writes to undefined globals, which all requests of a worker
//! share.

use super::stack::State;

/// Argument: the global table. Writes go through, with a warning in
/// error.log that says where. Same text as OpenResty's, and like there none
/// while a worker starts: no request runs yet.
const SOURCE: &str = r#"
local globals = ...
local rawset, tostring, traceback = rawset, tostring, debug.traceback
local mt = getmetatable(globals) or {}
mt.__newindex = function(table, key, value)
    rawset(table, key, value)
    local ngx = ngx
    if ngx and ngx.log and ngx.get_phase() ~= "init_worker" then
        ngx.log(ngx.WARN, "writing a global Lua variable ('", tostring(key),
            "') which may lead to race conditions between concurrent requests,",
            " so prefer the use of 'local' variables", traceback("", 2))
    end
end
setmetatable(globals, mt)
"#;

pub(super) fn install(state: &mut State) -> Result<(), String> {
    state.push_globals();
    state.run_builtin(SOURCE, c"=_G write guard", 1, 0)
}

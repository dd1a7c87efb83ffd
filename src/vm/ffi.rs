//! The Lua C API as the rest of `vm` uses it.
//!
//! mlua's names with a trailing underscore are the plain C functions; those
//! without it add work for compatibility with newer Luas that the hot path
//! does not need.

pub use mlua::ffi::{
    LUA_ERRERR, LUA_ERRMEM, LUA_ERRSYNTAX, LUA_GCCOLLECT, LUA_GCCOUNT, LUA_GCRESTART,
    LUA_GCSETPAUSE, LUA_GLOBALSINDEX, LUA_MULTRET, LUA_OK, LUA_REGISTRYINDEX, LUA_TBOOLEAN,
    LUA_TFUNCTION, LUA_TLIGHTUSERDATA, LUA_TNIL, LUA_TNONE, LUA_TNUMBER, LUA_TSTRING, LUA_TTABLE,
    LUA_TTHREAD, LUA_TUSERDATA, LUA_YIELD, lua_Alloc, lua_Debug, lua_State, lua_call, lua_close,
    lua_cpcall, lua_createtable, lua_error, lua_gc, lua_getallocf, lua_getinfo, lua_getlocal,
    lua_getmetatable, lua_getstack, lua_gettop, lua_insert, lua_isnumber, lua_newthread,
    lua_newuserdata, lua_next, lua_objlen, lua_pcall, lua_pushboolean, lua_pushcclosure,
    lua_pushlightuserdata, lua_pushnil, lua_pushnumber, lua_pushthread, lua_pushvalue,
    lua_rawequal, lua_rawset, lua_remove, lua_replace, lua_setallocf, lua_setmetatable, lua_settop,
    lua_status, lua_toboolean, lua_tolstring, lua_tonumber, lua_topointer, lua_tothread,
    lua_touserdata, lua_type, lua_xmove, lua_yield, luaL_argerror, luaL_loadbuffer, luaL_newstate,
    luaL_openlibs, luaL_ref, luaL_unref, luaL_where,
};
pub use mlua::ffi::{
    lua_checkstack, lua_pushlstring_, lua_rawget_, lua_rawgeti_, lua_rawseti_, lua_resume_,
};

use std::os::raw::{c_char, c_int};

/// Asks `lua_gc` whether the collector was not stopped (LuaJIT's).
pub const LUA_GCISRUNNING: c_int = 9;

unsafe extern "C-unwind" {
    /// Whether `lua_yield` would be accepted: false below a C function such
    /// as `table.sort` or `string.gsub` that called back into Lua.
    pub fn lua_isyieldable(l: *mut lua_State) -> c_int;
    /// LuaJIT's own traceback; mlua's replacement writes Lua 5.3's format.
    pub fn luaL_traceback(l: *mut lua_State, l1: *mut lua_State, msg: *const c_char, level: c_int);
}

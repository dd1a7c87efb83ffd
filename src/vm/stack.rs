//! A typed view of one Lua stack.

use std::ffi::CStr;
use std::os::raw::{c_char, c_int};
use std::ptr;

use super::ffi;
use super::function::Throw;
use super::sched;

/// Type of a Lua value, as `type()` names it (`None` where no value stands).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    None,
    Nil,
    Boolean,
    LightUserdata,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
    Cdata,
}

/// The stack of the running Lua function or of a suspended coroutine.
///
/// Indexes are Lua's: from 1 up within the function's frame, from -1 down from
/// the top. Methods that take `&mut self` may remove values; a slice got from
/// [`State::bytes`] cannot outlive one of these calls, so it always points to
/// a string that Lua still holds.
///
/// Methods that allocate in Lua raise Lua's memory error when memory runs out,
/// by unwinding through the caller.
pub struct State {
    l: *mut ffi::lua_State,
}

impl State {
    /// Index of Lua's registry, a table out of Lua's reach.
    pub const REGISTRY: c_int = ffi::LUA_REGISTRYINDEX;

    /// Wraps a raw state.
    ///
    /// # Safety
    /// `l` must be a live Lua state or coroutine for as long as the value is
    /// used, and only this thread may use it.
    pub(crate) unsafe fn from_raw(l: *mut ffi::lua_State) -> State {
        State { l }
    }

    pub(crate) fn raw(&self) -> *mut ffi::lua_State {
        self.l
    }

    /// Number of values in the frame.
    pub fn top(&self) -> c_int {
        // SAFETY: `l` is a live state (from_raw).
        unsafe { ffi::lua_gettop(self.l) }
    }

    /// Cuts or extends (with nil) the frame to `n` values, or for a negative
    /// `n` to that index.
    pub fn set_top(&mut self, n: c_int) {
        // SAFETY: `l` is live; callers extend by a few slots only, which
        // LUA_MINSTACK guarantees.
        unsafe { ffi::lua_settop(self.l, n) }
    }

    /// Removes the `n` topmost values.
    pub fn pop(&mut self, n: c_int) {
        self.set_top(-n - 1);
    }

    /// Makes sure that `n` more values fit; false when Lua refuses.
    pub fn reserve(&self, n: c_int) -> bool {
        // SAFETY: `l` is live.
        unsafe { ffi::lua_checkstack(self.l, n) != 0 }
    }

    /// The index counted from the bottom, also for one counted from the top.
    pub fn abs(&self, idx: c_int) -> c_int {
        if idx < 0 && idx > ffi::LUA_REGISTRYINDEX {
            self.top() + idx + 1
        } else {
            idx
        }
    }

    /// Type of the value at `idx`.
    pub fn type_of(&self, idx: c_int) -> Type {
        // SAFETY: `l` is live; any index within the reserved stack is valid.
        match unsafe { ffi::lua_type(self.l, idx) } {
            ffi::LUA_TNONE => Type::None,
            ffi::LUA_TNIL => Type::Nil,
            ffi::LUA_TBOOLEAN => Type::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Type::LightUserdata,
            ffi::LUA_TNUMBER => Type::Number,
            ffi::LUA_TSTRING => Type::String,
            ffi::LUA_TTABLE => Type::Table,
            ffi::LUA_TFUNCTION => Type::Function,
            ffi::LUA_TUSERDATA => Type::Userdata,
            ffi::LUA_TTHREAD => Type::Thread,
            _ => Type::Cdata,
        }
    }

    /// Name of the type at `idx`, as in Lua's own messages (`no value`, `nil`, …).
    pub fn type_name(&self, idx: c_int) -> &'static str {
        match self.type_of(idx) {
            Type::None => "no value",
            Type::Nil => "nil",
            Type::Boolean => "boolean",
            Type::LightUserdata | Type::Userdata => "userdata",
            Type::Number => "number",
            Type::String => "string",
            Type::Table => "table",
            Type::Function => "function",
            Type::Thread => "thread",
            Type::Cdata => "cdata",
        }
    }

    /// True for nil and for a missing argument.
    pub fn is_none_or_nil(&self, idx: c_int) -> bool {
        matches!(self.type_of(idx), Type::None | Type::Nil)
    }

    /// Lua's truth of a value.
    pub fn to_bool(&self, idx: c_int) -> bool {
        // SAFETY: `l` is live.
        unsafe { ffi::lua_toboolean(self.l, idx) != 0 }
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, idx: c_int) -> Option<f64> {
        // SAFETY: `l` is live; both calls only read the value. What is no number
        // counts as 0.
        unsafe {
            let number = ffi::lua_tonumber(self.l, idx);
            (number != 0.0 || ffi::lua_isnumber(self.l, idx) != 0).then_some(number)
        }
    }

    /// The bytes of a string or number; a number is turned into a string on
    /// the stack, as Lua's own functions do.
    pub fn bytes(&self, idx: c_int) -> Option<&[u8]> {
        let mut len = 0;
        // SAFETY: `l` is live; the string stays on the stack while the result
        // is borrowed, since removing needs `&mut self`.
        unsafe {
            let p = ffi::lua_tolstring(self.l, idx, &mut len);
            if p.is_null() {
                None
            } else {
                Some(std::slice::from_raw_parts(p.cast::<u8>(), len))
            }
        }
    }

    /// Pushes nil.
    pub fn push_nil(&self) {
        // SAFETY: `l` is live; callers push within LUA_MINSTACK or reserve().
        unsafe { ffi::lua_pushnil(self.l) }
    }

    /// Pushes a boolean.
    pub fn push_bool(&self, b: bool) {
        // SAFETY: as push_nil.
        unsafe { ffi::lua_pushboolean(self.l, b.into()) }
    }

    /// Pushes a number.
    pub fn push_number(&self, n: f64) {
        // SAFETY: as push_nil.
        unsafe { ffi::lua_pushnumber(self.l, n) }
    }

    /// Pushes a whole number.
    pub fn push_int(&self, n: i64) {
        self.push_number(n as f64);
    }

    /// Pushes a string.
    pub fn push_bytes(&self, s: impl AsRef<[u8]>) {
        let s = s.as_ref();
        // SAFETY: as push_nil; Lua copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.l, s.as_ptr().cast::<c_char>(), s.len()) }
    }

    /// Pushes `nil, message`, the way most functions report an error.
    pub fn push_nil_err(&self, message: impl AsRef<[u8]>) -> c_int {
        self.push_nil();
        self.push_bytes(message);
        2
    }

    /// Whether two values are the same, without metamethods.
    pub fn raw_equal(&self, a: c_int, b: c_int) -> bool {
        // SAFETY: `l` is live; an index without a value equals nothing.
        unsafe { ffi::lua_rawequal(self.l, a, b) != 0 }
    }

    /// Pushes a light userdata, which Lua only compares.
    pub fn push_light(&self, p: usize) {
        // SAFETY: as push_nil; Lua never follows the pointer.
        unsafe { ffi::lua_pushlightuserdata(self.l, ptr::without_provenance_mut(p)) }
    }

    /// Address held by a light or full userdata; only for comparing.
    pub fn light(&self, idx: c_int) -> Option<usize> {
        // SAFETY: `l` is live.
        let p = unsafe { ffi::lua_touserdata(self.l, idx) };
        (!p.is_null()).then(|| p.addr())
    }

    /// The pointer that a light userdata is, or that a cdata holds (`void *`
    /// and its like); None for other values and for null.
    pub fn pointer(&self, idx: c_int) -> Option<usize> {
        match self.type_of(idx) {
            Type::LightUserdata => self.light(idx),
            Type::Cdata => {
                // SAFETY: LuaJIT gives the address of the cdata's payload,
                // which is never smaller than a machine word.
                let pointer = unsafe {
                    ffi::lua_topointer(self.l, idx)
                        .cast::<usize>()
                        .read_unaligned()
                };
                (pointer != 0).then_some(pointer)
            }
            _ => None,
        }
    }

    /// Pushes a copy of the value at `idx`.
    pub fn push_value(&self, idx: c_int) {
        // SAFETY: as push_nil.
        unsafe { ffi::lua_pushvalue(self.l, idx) }
    }

    /// Moves the top value to `idx`, shifting up what stands there.
    pub fn insert(&mut self, idx: c_int) {
        // SAFETY: `l` is live and the index valid by the caller's count.
        unsafe { ffi::lua_insert(self.l, idx) }
    }

    /// Removes the value at `idx`.
    pub fn remove(&mut self, idx: c_int) {
        // SAFETY: as insert.
        unsafe { ffi::lua_remove(self.l, idx) }
    }

    /// Pops the top value into `idx`.
    pub fn replace(&mut self, idx: c_int) {
        // SAFETY: as insert.
        unsafe { ffi::lua_replace(self.l, idx) }
    }

    /// Pushes a new table with room for `array` and `hash` entries.
    pub fn new_table(&self, array: c_int, hash: c_int) {
        // SAFETY: as push_nil.
        unsafe { ffi::lua_createtable(self.l, array, hash) }
    }

    /// Pushes the global table.
    pub fn push_globals(&self) {
        self.push_value(ffi::LUA_GLOBALSINDEX);
    }

    /// Raw length of a string, table or userdata.
    pub fn len(&self, idx: c_int) -> usize {
        // SAFETY: `l` is live.
        unsafe { ffi::lua_objlen(self.l, idx) }
    }

    /// Pushes `t[i]` of the table at `idx`, without metamethods.
    pub fn raw_geti(&self, idx: c_int, i: c_int) {
        debug_assert_eq!(self.type_of(idx), Type::Table);
        // SAFETY: `l` is live and the value at `idx` a table by the caller's check.
        unsafe { ffi::lua_rawgeti_(self.l, idx, i) }
    }

    /// Pops a value into `t[i]` of the table at `idx`, without metamethods.
    pub fn raw_seti(&mut self, idx: c_int, i: c_int) {
        debug_assert_eq!(self.type_of(idx), Type::Table);
        // SAFETY: as raw_geti.
        unsafe { ffi::lua_rawseti_(self.l, idx, i) }
    }

    /// Replaces the key on the top by the raw value of the table at `idx`.
    pub fn raw_get(&mut self, idx: c_int) {
        debug_assert_eq!(self.type_of(idx), Type::Table);
        // SAFETY: as raw_geti.
        unsafe { ffi::lua_rawget_(self.l, idx) }
    }

    /// Pops value and key into the table at `idx`, without metamethods.
    pub fn raw_set(&mut self, idx: c_int) {
        debug_assert_eq!(self.type_of(idx), Type::Table);
        // SAFETY: as raw_geti.
        unsafe { ffi::lua_rawset(self.l, idx) }
    }

    /// Pushes the raw field `name` of the table at `idx`.
    pub fn raw_get_field(&mut self, idx: c_int, name: &str) {
        let idx = self.abs(idx);
        self.push_bytes(name);
        self.raw_get(idx);
    }

    /// Pops a value into the raw field `name` of the table at `idx`.
    pub fn raw_set_field(&mut self, idx: c_int, name: &str) {
        let idx = self.abs(idx);
        self.push_bytes(name);
        self.insert(-2);
        self.raw_set(idx);
    }

    /// Advances a table traversal (`lua_next`): pops a key, pushes the next
    /// key and value. False, with nothing pushed, at the end.
    pub fn next(&mut self, idx: c_int) -> bool {
        debug_assert_eq!(self.type_of(idx), Type::Table);
        // SAFETY: as raw_geti; the key is one that `next` itself returned.
        unsafe { ffi::lua_next(self.l, idx) != 0 }
    }

    /// Empties the table at `idx`, without metamethods.
    pub fn clear_table(&mut self, idx: c_int) {
        let idx = self.abs(idx);
        self.push_nil();
        while self.next(idx) {
            self.pop(1);
            // A field that is there may be set to nil while traversing.
            self.push_value(-1);
            self.push_nil();
            self.raw_set(idx);
        }
    }

    /// Pops a table and makes it the metatable of the value at `idx`.
    pub fn set_metatable(&mut self, idx: c_int) {
        // SAFETY: `l` is live.
        unsafe {
            ffi::lua_setmetatable(self.l, idx);
        }
    }

    /// Pushes the metatable of the value at `idx`; false, with nothing
    /// pushed, where it has none.
    pub fn metatable(&self, idx: c_int) -> bool {
        // SAFETY: `l` is live.
        unsafe { ffi::lua_getmetatable(self.l, idx) != 0 }
    }

    /// Whether the scheduler can suspend the current function: there is no C
    /// function below it that called back into Lua, or resumed a coroutine.
    pub fn is_yieldable(&self) -> bool {
        // SAFETY: `l` is live.
        sched::runs(self.l) && unsafe { ffi::lua_isyieldable(self.l) != 0 }
    }

    /// Pops a value and anchors it in the registry.
    pub(crate) fn anchor(&mut self) -> c_int {
        // SAFETY: `l` is live and holds the value on its top.
        unsafe { ffi::luaL_ref(self.l, ffi::LUA_REGISTRYINDEX) }
    }

    /// Pushes an anchored value.
    pub(crate) fn push_anchored(&self, anchor: c_int) {
        // SAFETY: the registry is a table.
        unsafe { ffi::lua_rawgeti_(self.l, ffi::LUA_REGISTRYINDEX, anchor) }
    }

    /// Gives up an anchor.
    pub(crate) fn release(&self, anchor: c_int) {
        // SAFETY: `l` is live; luaL_unref accepts any reference.
        unsafe { ffi::luaL_unref(self.l, ffi::LUA_REGISTRYINDEX, anchor) }
    }

    /// Calls the function below `nargs` arguments; its `nresults` results
    /// replace them. A Lua error is caught and handed on.
    pub fn call(&mut self, nargs: c_int, nresults: c_int) -> Result<(), Throw> {
        // SAFETY: function and arguments stand on the live stack.
        match unsafe { ffi::lua_pcall(self.l, nargs, nresults, 0) } {
            ffi::LUA_OK => Ok(()),
            _ => Err(Throw::Value),
        }
    }

    /// Pushes what the `__tostring` metamethod of the value at `idx` makes of
    /// it; false, with nothing pushed, where it has none.
    pub fn call_tostring(&mut self, idx: c_int) -> Result<bool, Throw> {
        let idx = self.abs(idx);
        if !self.metatable(idx) {
            return Ok(false);
        }
        self.raw_get_field(-1, "__tostring");
        self.remove(-2);
        if self.is_none_or_nil(-1) {
            self.pop(1);
            return Ok(false);
        }
        self.push_value(idx);
        self.call(1, 1)?;
        Ok(true)
    }

    /// Who called the running function: 1 is the direct caller.
    pub fn caller(&self, level: c_int) -> Option<Caller> {
        // SAFETY: zeros are a valid lua_Debug; Lua fills it, and its strings
        // are copied before anything else runs.
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.l, level, &mut ar) == 0
                || ffi::lua_getinfo(self.l, c"Snl".as_ptr(), &mut ar) == 0
            {
                return None;
            }
            let text = |p: *const c_char| CStr::from_ptr(p).to_string_lossy().into_owned();
            Some(Caller {
                source: text(ar.short_src.as_ptr()),
                line: ar.currentline,
                function: (!ar.name.is_null()).then(|| text(ar.name)),
            })
        }
    }

    /// Where the function at `idx` was defined: `source:line`.
    pub fn defined_at(&self, idx: c_int) -> Option<String> {
        self.push_value(idx);
        // SAFETY: zeros are a valid lua_Debug; with ">", Lua takes the function
        // off the stack, fills it, and its strings are copied at once.
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getinfo(self.l, c">S".as_ptr(), &mut ar) == 0 {
                return None;
            }
            let source = CStr::from_ptr(ar.source).to_string_lossy();
            Some(format!("{source}:{}", ar.linedefined))
        }
    }

    /// Pushes `ngx.null`.
    pub fn push_null(&self) {
        self.push_light(0);
    }

    /// Whether the value is `ngx.null`.
    pub fn is_null(&self, idx: c_int) -> bool {
        self.type_of(idx) == Type::LightUserdata && self.light(idx).is_none()
    }
}

/// A place in Lua code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Chunk name, shortened as in Lua's messages.
    pub source: String,
    /// Line in the chunk; -1 where there is none.
    pub line: c_int,
    /// Name by which the function was called, if it has one.
    pub function: Option<String>,
}

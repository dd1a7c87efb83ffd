//! The state of one `receiveuntil` iterator.

use std::rc::Rc;

/// One `receiveuntil` iterator: the pattern and where it stands. Cheap to clone.
#[derive(Clone)]
pub struct Until(Rc<()>);

impl Until {
    /// `None` if `pattern` is empty (Lua: `pattern is empty`).
    pub fn new(_pattern: &[u8], _inclusive: bool) -> Option<Self> { todo!() }
}

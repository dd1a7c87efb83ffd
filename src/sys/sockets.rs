//! The sockets that contexts own. Lua's objects know them by keys, so that no
//! object, however long it is kept, keeps anything of a context that has ended.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::context::{self, Context};
use super::datagram::Datagram;
use super::link::Link;
use crate::rt::{Arena, Key, List, worker_local};
use crate::sock::{Buffers, DatagramSocket, TcpSocket};

/// A socket of whatever kind, as a context owns it.
#[derive(Clone)]
pub enum Socket {
    Stream(TcpSocket<Link>),
    Datagram(DatagramSocket<Datagram>),
}

impl Socket {
    /// Its handler ended, or nobody can use it any more.
    fn abandon(&self) {
        match self {
            Socket::Stream(socket) => socket.abandon(),
            Socket::Datagram(socket) => socket.abandon(),
        }
    }

    /// The same, for good.
    fn give_up(self) {
        match self {
            Socket::Stream(socket) => socket.give_up(),
            Socket::Datagram(socket) => socket.abandon(),
        }
    }
}

/// One kind of sockets.
pub trait Kind: Clone + Into<Socket> {
    /// `socket`, if it is of this kind.
    fn of(socket: &Socket) -> Option<&Self>;
    /// What stands for a socket whose context has ended.
    fn gone(buffers: &Buffers) -> Self;
}

impl From<TcpSocket<Link>> for Socket {
    fn from(socket: TcpSocket<Link>) -> Socket {
        Socket::Stream(socket)
    }
}

impl Kind for TcpSocket<Link> {
    fn of(socket: &Socket) -> Option<&Self> {
        match socket {
            Socket::Stream(socket) => Some(socket),
            Socket::Datagram(_) => None,
        }
    }

    fn gone(buffers: &Buffers) -> Self {
        TcpSocket::closed(buffers)
    }
}

impl From<DatagramSocket<Datagram>> for Socket {
    fn from(socket: DatagramSocket<Datagram>) -> Socket {
        Socket::Datagram(socket)
    }
}

impl Kind for DatagramSocket<Datagram> {
    fn of(socket: &Socket) -> Option<&Self> {
        match socket {
            Socket::Stream(_) => None,
            Socket::Datagram(socket) => Some(socket),
        }
    }

    fn gone(buffers: &Buffers) -> Self {
        DatagramSocket::new(buffers, 0)
    }
}

struct Owned {
    socket: Socket,
    owner: Weak<Context>,
    /// Where the owner is, to be compared.
    address: *const Context,
}

worker_local! {
    /// The sockets of all contexts; each has a list of its own in it.
    static SOCKETS: RefCell<Arena<Owned>> = RefCell::new(Arena::new());
}

/// The sockets of one context.
#[derive(Default)]
pub(super) struct Sockets {
    list: Cell<List>,
    /// The Lua VM of the context, of which there may be several.
    vm: Cell<usize>,
}

impl Sockets {
    /// Closes all of them.
    pub(super) fn close(&self) {
        // Copied first: closing a socket may wake a waiting connect.
        let sockets: Vec<Socket> = self.with(|arena, list| {
            let socket = |key| Some(arena.get(key)?.socket.clone());
            arena.keys(list).filter_map(socket).collect()
        });
        sockets.iter().for_each(Socket::abandon);
    }

    /// Closes all of them, for good.
    #[inline(always)]
    pub(super) fn give_up(&self) {
        if !self.is_empty() {
            self.give_up_all();
        }
    }

    fn give_up_all(&self) {
        let take = || self.with(|arena, list| arena.remove(list, arena.front(list)?));
        // Taken out one by one, for the same reason.
        while !self.is_empty()
            && let Some(owned) = take()
        {
            owned.socket.give_up();
        }
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        let list = self.list.take();
        let is_empty = list.is_empty();
        self.list.set(list);
        is_empty
    }

    fn with<R>(&self, f: impl FnOnce(&mut Arena<Owned>, &mut List) -> R) -> R {
        let mut list = self.list.take();
        let result = SOCKETS.with_borrow_mut(|arena| f(arena, &mut list));
        self.list.set(list);
        result
    }
}

impl Drop for Sockets {
    #[inline(always)]
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Makes `context` the owner of `socket`, which is closed when the context ends, or when the
/// object that Lua has for it in `vm` is collected, see [`close_lost`].
pub fn adopt(context: &Rc<Context>, socket: Socket, vm: usize) -> Key {
    let owned = Owned {
        socket,
        owner: Rc::downgrade(context),
        address: Rc::as_ptr(context),
    };
    let sockets = &context.sockets;
    sockets.vm.set(vm);
    sockets.with(|arena, list| arena.push_back(list, |_| owned))
}

/// How many sockets there are.
pub fn count() -> usize {
    SOCKETS.with_borrow(Arena::count)
}

/// Whose socket a key names.
pub enum Found<S> {
    /// The running context's.
    Own(S),
    /// Another one's.
    Foreign(S),
    /// It is not of the kind that was asked for.
    Different,
    /// Its context has ended.
    Gone,
}

/// The socket that `key` names.
#[inline(always)]
pub fn find<S: Kind>(key: Key) -> Found<S> {
    SOCKETS.with_borrow(|arena| {
        let Some(owned) = arena.get(key) else {
            return Found::Gone;
        };
        match S::of(&owned.socket) {
            Some(socket) if context::is_current(owned.address) => Found::Own(socket.clone()),
            Some(socket) => Found::Foreign(socket.clone()),
            None => Found::Different,
        }
    })
}

/// Closes the sockets whose objects were in `vm` and are not any more: `is_left` is given the
/// places of their keys.
pub fn close_lost(vm: usize, mut is_left: impl FnMut(u32) -> bool) {
    let lost: Vec<Key> = SOCKETS.with_borrow(|arena| {
        let is_mine = |owned: &Owned| {
            owned
                .owner
                .upgrade()
                .is_some_and(|c| c.sockets.vm.get() == vm)
        };
        let mine = arena.entries().filter(|(_, owned)| is_mine(owned));
        let keys = mine.map(|(key, _)| key);
        keys.filter(|key| !is_left(key.place())).collect()
    });
    for key in lost {
        let owner = SOCKETS.with_borrow(|arena| arena.get(key)?.owner.upgrade());
        if let Some(owned) =
            owner.and_then(|owner| owner.sockets.with(|arena, list| arena.remove(list, key)))
        {
            owned.socket.give_up();
        }
    }
}

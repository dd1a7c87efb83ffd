//! Safe wrappers over nginx. Implements what `sock` asks of a backend.

pub mod address;
pub mod body;
pub mod conf;
pub mod connection;
pub mod context;
pub mod datagram;
pub mod digest;
pub mod downstream;
pub mod entry;
pub mod event;
pub mod headers;
pub mod link;
pub mod log;
pub mod net;
pub mod output;
pub mod process;
pub mod quit;
pub mod regex;
pub mod request;
pub mod resolver;
pub mod sockopt;
pub mod ssl;
pub mod text;
pub mod time;
pub mod uri;
pub mod variable;

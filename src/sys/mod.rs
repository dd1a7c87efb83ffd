//! Safe wrappers over nginx.

pub mod conf;

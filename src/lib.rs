//! ngx-cosocket
pub mod vm;

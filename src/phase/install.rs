//! Installs the phase handlers that the configuration needs.

use crate::conf::MainConf;
use crate::sys::conf::{Conf, Reported};

/// Runs after the whole `http` block was read and merged. An error fails the
/// configuration.
pub fn install(_conf: &mut Conf<'_>, _main: &mut MainConf) -> Result<(), Reported> {
    Ok(())
}

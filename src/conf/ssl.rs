//! `lua_ssl_*`: TLS of cosockets.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::sys::conf::{Conf, Reported};
use crate::sys::ssl::{Settings, SslContext};

/// TLS settings of one level.
#[derive(Default)]
pub struct SslConf {
    /// What the directives say, those of outer levels included once merged.
    pub settings: Settings,
    /// A directive stands at this very level.
    own: bool,
    /// Made when it is first wanted: by the level itself or by an inner one
    /// that shares it.
    context: OnceCell<Option<Rc<SslContext>>>,
}

impl SslConf {
    /// Fills in what is not set here from the outer level.
    pub fn merge(&mut self, parent: &Self) {
        let (own, outer) = (&mut self.settings, &parent.settings);
        fn inherit<T: Clone>(own: &mut Option<T>, outer: &Option<T>) -> bool {
            let set = own.is_some();
            if !set {
                own.clone_from(outer);
            }
            set
        }
        let set = [
            inherit(&mut own.protocols, &outer.protocols),
            inherit(&mut own.ciphers, &outer.ciphers),
            inherit(&mut own.verify_depth, &outer.verify_depth),
            inherit(&mut own.certificates, &outer.certificates),
            inherit(&mut own.certificate_keys, &outer.certificate_keys),
            inherit(&mut own.trusted_certificate, &outer.trusted_certificate),
            inherit(&mut own.crl, &outer.crl),
            inherit(&mut own.key_log, &outer.key_log),
            inherit(&mut own.conf_commands, &outer.conf_commands),
        ];
        self.own = set.contains(&true);
    }

    /// Makes the TLS context, or shares the outer level's where nothing is
    /// set here. Call after [`SslConf::merge`].
    ///
    /// # Errors
    /// What is wrong with a file or value has been logged.
    pub fn prepare(&self, parent: &Self, conf: &Conf<'_>) -> Result<(), Reported> {
        let context = if self.own {
            self.context(conf)?
        } else {
            parent.context(conf)?
        };
        // Fails only where context() has just set the same value.
        let _ = self.context.set(context);
        Ok(())
    }

    fn context(&self, conf: &Conf<'_>) -> Result<Option<Rc<SslContext>>, Reported> {
        if let Some(context) = self.context.get() {
            return Ok(context.clone());
        }
        let context = if self.settings.is_default() {
            None
        } else {
            Some(Rc::new(SslContext::new(conf, &self.settings)?))
        };
        let _ = self.context.set(context.clone());
        Ok(context)
    }

    /// The context for a handshake in this location.
    pub fn for_handshake(&self) -> Option<Rc<SslContext>> {
        match self.context.get() {
            Some(Some(context)) => Some(context.clone()),
            _ => SslContext::default_of_worker(),
        }
    }
}

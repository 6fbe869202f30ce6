//! Why nothing more is known of a namespace.

use super::super::{namespace, netlink};

/// Why nothing more is known of a namespace.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The kernel does not tell.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
}

impl Error {
    /// The namespace has ended.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::Namespace(namespace::Error::Ended { .. }))
    }
}

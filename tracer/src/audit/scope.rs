//! What of a node a command has before it where it runs. Pure.

/// What of the node's own is there: a command that is run in another root, namespace, guest or node has less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    /// Its files, and with them its packages.
    pub(super) files: bool,
    /// Its network, as the kernel has it by namespaces.
    pub(super) network: bool,
    /// The rest: its systemd, its containers, the node as a whole.
    pub(super) system: bool,
}

impl Scope {
    /// All of it.
    pub(super) const NODE: Self = Self {
        files: true,
        network: true,
        system: true,
    };
    /// Nothing: a guest, another node.
    pub(super) const ELSEWHERE: Self = Self {
        files: false,
        network: false,
        system: false,
    };
    /// All but the files: behind `chroot`.
    pub(super) const OTHER_ROOT: Self = Self {
        files: false,
        ..Self::NODE
    };
    /// All but the network: behind `ip netns exec`.
    pub(super) const OTHER_NETWORK: Self = Self {
        network: false,
        ..Self::NODE
    };
    /// Its network alone: a container that may have been made with it.
    pub(super) const NETWORK: Self = Self {
        network: true,
        ..Self::ELSEWHERE
    };

    /// Its files alone.
    pub(super) const FILES: Self = Self {
        files: true,
        ..Self::ELSEWHERE
    };
    /// All but the files and the network, as the kernel has it for all.
    pub(super) const SYSTEM: Self = Self {
        system: true,
        ..Self::ELSEWHERE
    };
    /// What its services are asked in: in another root systemctl does nothing.
    pub(super) const SERVICES: Self = Self {
        network: false,
        ..Self::NODE
    };

    /// What both have.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            files: self.files && other.files,
            network: self.network && other.network,
            system: self.system && other.system,
        }
    }

    /// What either has.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            files: self.files || other.files,
            network: self.network || other.network,
            system: self.system || other.system,
        }
    }

    /// Whether it has all that is needed.
    pub(super) fn has(self, needed: Self) -> bool {
        self.and(needed) == needed
    }
}

//! Which instructions of the processor a scan runs with.

use std::fmt;

/// A set of instructions that this processor has.
///
/// Only what was found at run time can be named, so a scan cannot run into an instruction that is missing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instructions(Set);

/// The sets, the widest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Instructions {
    /// The widest that this processor has.
    pub fn widest() -> Self {
        Self::all().last().unwrap_or_else(Self::portable)
    }

    /// What each processor has.
    pub fn portable() -> Self {
        Self(Set::Portable)
    }

    /// All that this processor has, the widest last.
    pub fn all() -> impl Iterator<Item = Self> {
        Set::ALL.iter().filter(|set| set.is_here()).map(|set| Self(*set))
    }

    /// Its name, as a log would say it: `portable`, `avx2`, `avx-vnni` or `avx512-vnni`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => "avx512-vnni",
        }
    }

    pub(super) fn set(self) -> Set {
        self.0
    }
}

impl Set {
    #[cfg(target_arch = "x86_64")]
    const ALL: &'static [Self] = &[Self::Portable, Self::Avx2, Self::AvxVnni, Self::Avx512Vnni];
    #[cfg(not(target_arch = "x86_64"))]
    const ALL: &'static [Self] = &[Self::Portable];

    /// Whether the processor and the system have all that the kernels of this set are compiled for.
    fn is_here(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni"),
        }
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

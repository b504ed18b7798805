//! The keys that choose between named ways.
#![forbid(unsafe_code)]

/// How the region asks for pages larger than 4 KiB.
///
/// A random read of a 1 GiB region costs 346 ns in 4 KiB pages and 164 ns in huge ones, most of it
/// spent in the page walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum HugePages {
    /// Pages of the system's default size.
    Off,
    /// `MADV_HUGEPAGE`: the kernel uses huge pages where it has them.
    #[default]
    Transparent,
    /// Pages reserved by the operator (`vm.nr_hugepages`); falls back to `Transparent`, and says
    /// so in [`Stats`](crate::Stats), where too few are reserved.
    Explicit,
}

/// What to do about damage that cold start finds: records that were durable and no longer verify.
///
/// A write that was cut short by a crash is not damage: it was never promised to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum OnDamage {
    /// Open with what verifies; the damage is counted, and told by `Store::health`. A wblock whose
    /// header is damaged is given up for good, and used again.
    #[default]
    Report,
    /// Do not open: [`Error::Damaged`](crate::Error::Damaged), with nothing written.
    Refuse,
}

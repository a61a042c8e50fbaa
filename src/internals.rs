//! Items that modules share with each other, and with benchmarks and tests outside the crate.

/// Re-exports within the crate; with the feature `internals`, which tests and benchmarks turn on, to
/// everybody.
macro_rules! internals {
    ($($path:ident)::+ $(::{$($item:ident),+ $(,)?})?) => {
        #[cfg(feature = "internals")]
        pub use $($path)::+ $(::{$($item),+})?;
        #[cfg(not(feature = "internals"))]
        #[allow(unused_imports, reason = "some are used from outside alone")]
        pub(crate) use $($path)::+ $(::{$($item),+})?;
    };
}

pub(crate) use internals;

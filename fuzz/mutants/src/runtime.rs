//! What the rewritten crate asks: is this mutant on?
//!
//! Functions that are `const` ask it too. What they return while the crate compiles is the
//! original's; telling the two apart takes an intrinsic of the compiler, and so `RUSTC_BOOTSTRAP`.

/// What the rewritten crate switches on, at its very top.
pub const FEATURES: &str =
    "#![feature(core_intrinsics, const_eval_select)]\n#![allow(internal_features)]\n";

/// A module of the rewritten crate. `HIPPOS_MUTANT` names the mutant; where `HIPPOS_TOUCHED` names a
/// file instead, the numbers of all mutants that are reached are appended to it.
pub const SOURCE: &str = r#"
#[doc(hidden)]
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod __mutant {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

    const UNKNOWN: u32 = u32::MAX;
    const RECORD: u32 = u32::MAX - 1;
    static ACTIVE: AtomicU32 = AtomicU32::new(UNKNOWN);
    static SEEN: [AtomicBool; 1 << 14] = [const { AtomicBool::new(false) }; 1 << 14];
    static FILE: OnceLock<std::fs::File> = OnceLock::new();

    #[inline(always)]
    pub const fn on(id: u32) -> bool {
        core::intrinsics::const_eval_select((id,), never, asked)
    }

    #[inline(always)]
    const fn never(_: u32) -> bool {
        false
    }

    #[inline(always)]
    fn asked(id: u32) -> bool {
        let active = ACTIVE.load(Relaxed);
        active == id || (active >= RECORD && !SEEN[id as usize].load(Relaxed) && slow(id))
    }

    #[cold]
    #[inline(never)]
    fn slow(id: u32) -> bool {
        let mut active = ACTIVE.load(Relaxed);
        if active == UNKNOWN {
            active = match (std::env::var("HIPPOS_MUTANT"), std::env::var("HIPPOS_TOUCHED")) {
                (Ok(number), _) => number.parse().expect("a mutant's number"),
                (_, Ok(_)) => RECORD,
                _ => 0,
            };
            ACTIVE.store(active, Relaxed);
        }
        let seen = &SEEN[id as usize];
        if active == RECORD && !seen.load(Relaxed) && !seen.swap(true, Relaxed) {
            let file = FILE.get_or_init(|| {
                std::fs::File::options()
                    .append(true)
                    .create(true)
                    .open(std::env::var_os("HIPPOS_TOUCHED").expect("it was there"))
                    .expect("the record opens")
            });
            (&*file).write_all(&id.to_le_bytes()).expect("the record is written");
        }
        active == id
    }
}
"#;

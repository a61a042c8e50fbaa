//! Chapters that do not belong to a single module.

#[cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#[cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#[doc = include_str!("../docs/12-mutants.md")]
pub mod mistakes {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#[cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#[doc = include_str!("../docs/13-golden.md")]
pub mod golden {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#[cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#[doc = include_str!("../docs/18-recall.md")]
pub mod recall {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#[cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#[doc = include_str!("../docs/19-review.md")]
pub mod review {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#[cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#[doc = include_str!("../docs/19-review.ko.md")]
pub mod review_ko {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#[cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#[doc = include_str!("../docs/20-mistakes-reference.md")]
pub mod mistakes_reference {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#[cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#[doc = include_str!("../docs/21-served.md")]
pub mod served {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#[cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#[doc = include_str!("../docs/22-operators.md")]
pub mod operators {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#[cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#[doc = include_str!("../docs/23-ssd.md")]
pub mod ssd {}

//! Claims: the HiPPO matrices are what projecting a history makes them, exactly, and the official
//! code's; spectra and initializations are the official ones; Hyena's recursion is its matrix and
//! contains H3; every form costs what its formula says.

#[path = "../common/mod.rs"]
mod common;
mod history;
mod matrices;
mod official;
mod spectra;

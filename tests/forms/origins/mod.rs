//! Claims: the HiPPO matrices are what projecting a history makes them, exactly, and the official
//! code's; spectra and initializations are the official ones.

mod history;
mod hyena;
mod init;
mod matrices;
mod official;
mod spectra;

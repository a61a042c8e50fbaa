//! Pieces of the oracle one by one: what is certified, remembered, read, weighed and said.

mod certified;
mod evidence;
mod memo;
mod metadata;
mod page;

//! Documents packed into a row, rows beside padding: every form treats each document as if it were
//! alone, forwards and backwards.

mod blocks;
mod layer;
mod models;
mod support;
mod teeth;

//! A run: sessions, preflight, phases, verify, lock, journal. Knows no operating system.

pub mod event;
pub mod report;

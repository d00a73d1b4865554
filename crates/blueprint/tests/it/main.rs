//! Tests of the blueprint by its public interface, for the delivered inventories and both releases.

#[cfg(test)]
mod adapter;
#[cfg(test)]
mod common;
#[cfg(test)]
mod instructions;
#[cfg(test)]
mod network;
#[cfg(test)]
mod pki;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod snapshots;

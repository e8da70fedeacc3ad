//! Everything that provokes and measures Tidegate: real servers, faults, load, proofs.

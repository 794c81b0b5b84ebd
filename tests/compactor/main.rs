//! Compaction: of blocks, beside what Thanos made of the same ones, and of buckets in which things go wrong.
#![cfg(test)]

mod aggregates;
mod bucket_samples;
mod buckets;
mod disk_steps;
mod downsampling;
mod faulty;
mod golden_jobs;
mod killed;
mod lossless;
mod own_reader;

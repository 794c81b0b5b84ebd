//! PromQL text to a checked, typed and optimised query tree. No I/O, no async, no DataFusion.
//!
//! ```text
//! text ──parse──> Expr (what was written, with positions) ──lower──> tree::Node (what is to be evaluated)
//! ```

mod function;
pub mod tree;

pub use function::Function;

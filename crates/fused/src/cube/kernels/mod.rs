//! What runs on the GPU, as CubeCL's `#[cube]` takes it: functions over buffers whose arguments' forms the
//! macro dictates.

#![expect(
    clippy::used_underscore_binding,
    clippy::duplicate_underscore_argument,
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    clippy::fn_params_excessive_bools,
    clippy::manual_is_multiple_of,
    reason = "the macro's grammar: buffers by reference, sequences by value, every switch a compile-time bool"
)]

pub(super) mod attention;
pub(super) mod gemm;
pub(super) mod optimizer;
pub(super) mod rows;
pub(super) mod vocabulary;

//! The path of a parameter in its module, which is its name in files and in saved states.

use std::fmt;

/// Where a [`burn::module::ModuleVisitor`] or [`burn::module::ModuleMapper`] is: the names of the fields from the
/// outermost module to the parameter, such as `h.0.attn.c_attn.weight`.
///
/// An enum of modules is no level of its own: which variant a model is stands in its configuration, so the parameters
/// of a family have the names that the family's files give them.
#[derive(Clone, Debug, Default)]
pub struct ParameterPath(Vec<String>);

impl ParameterPath {
    /// Goes into a field; takes what `enter_module` is given.
    pub fn enter(&mut self, name: &str, container_type: &str) {
        if !is_enum(container_type) {
            self.0.push(name.to_owned());
        }
    }

    /// Leaves a field; takes the container type that `exit_module` is given.
    pub fn exit(&mut self, container_type: &str) {
        if !is_enum(container_type) {
            self.0.pop();
        }
    }
}

/// burn's derive announces the variant of an enum as a field of a container `Enum:NAME`.
fn is_enum(container_type: &str) -> bool {
    container_type.starts_with("Enum:")
}

impl fmt::Display for ParameterPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

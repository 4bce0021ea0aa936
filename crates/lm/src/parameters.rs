//! The parameters of a module by their paths.
//!
//! A path is the names of the fields on the way to a parameter, joined by dots. The architectures name their fields as
//! Hugging Face names tensors, so a parameter's path is its tensor's name in a checkpoint. The variant of an enum is no
//! part of a path: a file does not say which of our types reads it.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use crate::LmError;
use crate::sequences::to_vec;

/// The values of a tensor on the host, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Values {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Where a visitor is in a module.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if !is_enum(container) {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !is_enum(container) {
            self.0.pop();
        }
    }

    fn joined(&self) -> String {
        self.0.join(".")
    }
}

/// Whether burn's name of a container is that of an enum.
fn is_enum(container: &str) -> bool {
    container.starts_with("Enum:")
}

/// Which parameter stands at a path.
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) id: ParamId,
    pub(crate) shape: Vec<usize>,
    /// Where its value is, without gradients.
    pub(crate) device: Device,
}

/// The places of all parameters, in the module's order.
pub(crate) fn places<M: Module>(module: &M) -> Vec<Place> {
    let mut list = List::default();
    module.visit(&mut list);
    list.places
}

#[derive(Default)]
struct List {
    path: Path,
    places: Vec<Place>,
}

impl ModuleVisitor for List {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let (shape, device) = (value.dims().to_vec(), value.device().without_autodiff());
        self.places.push(Place { path: self.path.joined(), id: param.id, shape, device });
    }
}

/// The values of all parameters, by path.
pub(crate) fn values<M: Module>(module: &M) -> BTreeMap<String, Values> {
    let mut collect = Collect::default();
    module.visit(&mut collect);
    collect.values
}

#[derive(Default)]
struct Collect {
    path: Path,
    values: BTreeMap<String, Values>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let values = Values { shape: value.dims().to_vec(), values: to_vec(value) };
        self.values.insert(self.path.joined(), values);
    }
}

/// The module with other values: `read` says those of each parameter, from its path and shape. Parameters keep their
/// identity and whether they train.
///
/// # Errors
/// The first error of `read`.
pub(crate) fn replace<M: Module>(
    module: M,
    read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>, LmError>,
) -> Result<M, LmError> {
    let mut assign = Assign { path: Path::default(), read, error: None };
    let module = module.map(&mut assign);
    assign.error.map_or(Ok(module), Err)
}

struct Assign<R> {
    path: Path,
    read: R,
    error: Option<LmError>,
}

impl<R: FnMut(&str, &[usize]) -> Result<Vec<f32>, LmError>> ModuleMapper for Assign<R> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        let shape = param.val().dims();
        match (self.read)(&self.path.joined(), &shape) {
            Ok(values) => param.map(|old| Tensor::from_data(TensorData::new(values, shape), &old.device())),
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[derive(Module, Debug)]
    struct Scale {
        weight: Param<Tensor<1>>,
    }

    #[derive(Module, Debug)]
    enum Either {
        Scale(Scale),
    }

    #[derive(Module, Debug)]
    struct Whole {
        parts: Vec<Either>,
        last: Scale,
    }

    fn scale(value: f32, device: &Device) -> Scale {
        Scale { weight: Param::from_tensor(Tensor::full([2], value, device)) }
    }

    #[test]
    fn variants_are_no_part_of_a_path() {
        let device = crate::DeviceSpec::CPU.open().unwrap();
        let parts = [1.0, 2.0].map(|value| Either::Scale(scale(value, &device))).to_vec();
        let whole = Whole { parts, last: scale(3.0, &device) };
        let paths = ["parts.0.weight", "parts.1.weight", "last.weight"];
        assert_eq!(places(&whole).iter().map(|place| place.path.as_str()).collect::<Vec<_>>(), paths);

        let twice = |path: &str, shape: &[usize]| {
            assert_eq!(shape, [2]);
            Ok(values(&whole)[path].values.iter().map(|value| 2.0 * value).collect())
        };
        let replaced = replace(whole.clone(), twice).unwrap();
        for (path, want) in paths.into_iter().zip([2.0, 4.0, 6.0]) {
            assert_eq!(values(&replaced)[path].values, [want; 2], "{path}");
        }
        assert_eq!(
            places(&replaced).iter().map(|place| place.id).collect::<Vec<_>>(),
            places(&whole).iter().map(|place| place.id).collect::<Vec<_>>()
        );
    }
}

//! The parameters of a module by their paths.
//!
//! A path is the names of the fields on the way to a parameter, joined by dots. The architectures name their
//! fields as Hugging Face names tensors, so a parameter's path is its tensor's name in a checkpoint. The
//! variant of an enum is no part of a path: a file does not say which of our types reads it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

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

/// Where a [`burn::module::ModuleVisitor`] or [`burn::module::ModuleMapper`] is: the names of the fields from
/// the outermost module to the parameter, such as `h.0.attn.c_attn.weight`.
///
/// An enum of modules is no level of its own: which variant a model is stands in its configuration, so the
/// parameters of a family have the names that the family's files give them.
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
    path: ParameterPath,
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
        self.places.push(Place { path: self.path.to_string(), id: param.id, shape, device });
    }
}

/// The paths of the parameters that training moves: all that are not frozen.
pub(crate) fn trained<M: Module>(module: &M) -> HashSet<String> {
    let mut list = Trained::default();
    // Whether a parameter is frozen shows where there are gradients.
    module.valid().train().visit(&mut list);
    list.paths
}

/// Whether training moves any parameter of a module that trains, with gradients: whether not all of it is
/// frozen.
pub(crate) fn trains<M: Module>(module: &M) -> bool {
    let mut list = Trained::default();
    module.visit(&mut list);
    !list.paths.is_empty()
}

#[derive(Default)]
struct Trained {
    path: ParameterPath,
    paths: HashSet<String>,
}

impl ModuleVisitor for Trained {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.paths.insert(self.path.to_string());
        }
    }
}

/// The values of the parameters whose paths are wanted, by path.
pub(crate) fn values<M: Module>(module: &M, wanted: impl FnMut(&str) -> bool) -> BTreeMap<String, Values> {
    let mut collect = Collect { path: ParameterPath::default(), values: BTreeMap::new(), wanted };
    module.visit(&mut collect);
    collect.values
}

struct Collect<W> {
    path: ParameterPath,
    values: BTreeMap<String, Values>,
    wanted: W,
}

impl<W: FnMut(&str) -> bool> ModuleVisitor for Collect<W> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.to_string();
        if (self.wanted)(&path) {
            let value = param.val();
            self.values.insert(path, Values { shape: value.dims().to_vec(), values: to_vec(value) });
        }
    }
}

/// The module with other values: `read` says those of each parameter, from its path and shape, or that it
/// stays as it is. Parameters keep their identity and whether they train.
///
/// # Errors
/// The first error of `read`.
pub(crate) fn replace<M: Module>(
    module: M,
    read: impl FnMut(&str, &[usize]) -> Result<Option<Vec<f32>>, LmError>,
) -> Result<M, LmError> {
    let mut assign = Assign { path: ParameterPath::default(), read, error: None };
    let module = module.map(&mut assign);
    assign.error.map_or(Ok(module), Err)
}

struct Assign<R> {
    path: ParameterPath,
    read: R,
    error: Option<LmError>,
}

impl<R: FnMut(&str, &[usize]) -> Result<Option<Vec<f32>>, LmError>> ModuleMapper for Assign<R> {
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
        match (self.read)(&self.path.to_string(), &shape) {
            Ok(Some(values)) => {
                param.map(|old| Tensor::from_data(TensorData::new(values, shape), &old.device()))
            }
            Ok(None) => param,
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

/// The module with the parameters at some paths moved towards those of another of the same shape:
/// `(1 - share) own + share other`, on the module's device.
pub(crate) fn towards<M: Module>(module: M, other: &M, paths: &HashSet<String>, share: f64) -> M {
    let mut flat = Flat { path: ParameterPath::default(), paths, tensors: HashMap::new() };
    other.visit(&mut flat);
    module.map(&mut Towards { path: ParameterPath::default(), others: flat.tensors, share })
}

/// Collects the parameters at some paths, flat.
struct Flat<'a> {
    path: ParameterPath,
    paths: &'a HashSet<String>,
    tensors: HashMap<String, Tensor<1>>,
}

impl ModuleVisitor for Flat<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.to_string();
        if self.paths.contains(&path) {
            self.tensors.insert(path, param.val().flatten(0, D - 1));
        }
    }
}

struct Towards {
    path: ParameterPath,
    /// What moves, and towards what.
    others: HashMap<String, Tensor<1>>,
    share: f64,
}

impl ModuleMapper for Towards {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(other) = self.others.remove(&self.path.to_string()) else { return param };
        let share = self.share;
        param.map(|own| {
            let other = other.reshape(own.dims());
            own * (1.0 - share) + other * share
        })
    }
}

#[cfg(test)]
mod tests {
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
            let old = &values(&whole, |_| true)[path].values;
            Ok((path != "parts.1.weight").then(|| old.iter().map(|value| 2.0 * value).collect()))
        };
        let replaced = replace(whole.clone(), twice).unwrap();
        for (path, want) in paths.into_iter().zip([2.0, 2.0, 6.0]) {
            assert_eq!(values(&replaced, |_| true)[path].values, [want; 2], "{path}");
        }
        assert_eq!(
            places(&replaced).iter().map(|place| place.id).collect::<Vec<_>>(),
            places(&whole).iter().map(|place| place.id).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_is_frozen_does_not_train() {
        let device = crate::DeviceSpec::CPU.open().unwrap();
        let frozen = scale(1.0, &device).no_grad();
        let mut whole = Whole { parts: vec![Either::Scale(frozen)], last: scale(2.0, &device) };
        assert_eq!(trained(&whole), HashSet::from(["last.weight".to_owned()]));
        whole = whole.train();
        assert_eq!(trained(&whole), HashSet::from(["last.weight".to_owned()]));
        let found = values(&whole, |path| path == "last.weight");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["last.weight"]);
    }
}

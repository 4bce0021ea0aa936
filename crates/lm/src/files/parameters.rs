//! The parameters of a decoder, out of its weights and into them.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::config::{Head, bare_name, tensor_name};
use super::weights::{Stored, Weights};
use crate::LmError;
use crate::architecture::{Decoder, DecoderConfig};
use crate::parameters::{ParameterPath, Values, values};

/// The values of every parameter by its name in a file.
pub(super) fn values_of(decoder: &Decoder) -> BTreeMap<String, Values> {
    let config = decoder.config();
    values(decoder, |_| true)
        .into_iter()
        .map(|(path, values)| (tensor_name(&config, &path), values))
        .collect()
}

/// Makes a decoder of its weights, whose names may be those of a model without a head. Nothing is read or
/// allocated before all names, shapes and types are known to be right.
///
/// # Errors
/// [`LmError::Tensor`] for the first tensor that is missing, misshapen or of another type, and the errors of
/// reading.
pub(super) fn read_decoder(
    weights: &Weights,
    config: &DecoderConfig,
    head: Head,
    device: &Device,
) -> Result<Decoder, LmError> {
    // Even blocks without values would fill the memory if a damaged file asked for enough of them.
    let layers = config.shape().layers;
    if layers > weights.count() {
        let expected = format!("those of {layers} layers, as config.json says");
        return Err(LmError::file(weights.path(), format!("{} tensors", weights.count()), expected));
    }
    let declared = match head {
        Head::LanguageModel => Decoder::declared(config, device),
        Head::Score => Decoder::declared(config, device).without_head(),
    };
    let mut check = Check { path: ParameterPath::default(), config, weights, found: Ok(Vec::new()) };
    declared.visit(&mut check);
    let mut fill = Fill { stored: check.found?.into_iter(), error: None };
    let decoder = declared.map(&mut fill);
    fill.error.map_or(Ok(decoder), Err)
}

/// Finds the tensor of every parameter, in the order of the module's fields.
struct Check<'a> {
    path: ParameterPath,
    config: &'a DecoderConfig,
    weights: &'a Weights,
    found: Result<Vec<Stored<'a>>, LmError>,
}

impl ModuleVisitor for Check<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Ok(found) = &mut self.found {
            let path = self.path.to_string();
            let names = [&tensor_name(self.config, &path), bare_name(self.config, &path)];
            match self.weights.find(&names, param.lazy_shape().as_slice()) {
                Ok(stored) => found.push(stored),
                Err(error) => self.found = Err(error),
            }
        }
    }
}

/// Gives the parameters the values of their tensors, which come in the order of the module's fields.
struct Fill<'a> {
    stored: std::vec::IntoIter<Stored<'a>>,
    error: Option<LmError>,
}

impl ModuleMapper for Fill<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(stored) = self.stored.next().filter(|_| self.error.is_none()) else { return param };
        match stored.read() {
            Ok(values) => {
                let data = TensorData::new(values, param.lazy_shape());
                Param::from_tensor(Tensor::from_data(data, &param.lazy_device()))
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

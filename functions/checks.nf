// Everything that can be wrong with a run, before any task of it starts.

include { checkedParameters; checkOutdir } from './parameters'
include { readSamples } from './samples'
include { findModels } from './models'

// [samples: [[sample, fasta], …], model_set: […], options: the checked parameters]
def checkedRun(given) {
    def values = checkedParameters(given)
    if (values.esm_task_size && values.esm_task_size < values.split_size) {
        error("--esm_task_size ${values.esm_task_size}: must be at least --split_size (${values.split_size}), as a task takes whole files")
    }
    def model_set = findModels(values.models)
    if (values.precision != 'auto' && model_set.precision && !(values.precision in model_set.precision)) {
        error("--precision ${values.precision}: model set ${values.models} allows ${model_set.precision.join(', ')}")
    }
    def samples = readSamples(values.input)
    checkOutdir(values.outdir)
    [samples: samples, model_set: model_set, options: values + [expected_length: values.expected_length ?: model_set.window_length]]
}

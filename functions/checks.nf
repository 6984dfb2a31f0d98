// Everything that can be wrong with a run, before any task of it starts.

include { checkedParameters; checkOutdir } from './parameters'
include { readSamples; checkStageable } from './samples'
include { findModels } from './models'

// [samples: [[sample, fasta], ...], refused: [[sample, reason], ...], model_set: [...], options: the checked parameters]
def checkedRun(given, command_line) {
    def values = checkedParameters(given, command_line)
    if (values.esm_task_size && values.esm_task_size < values.split_size) {
        error("--esm_task_size ${values.esm_task_size}: must be at least --split_size (${values.split_size}), as a task takes whole files")
    }
    def model_set = findModels(values.models)
    checkStageable(model_set.path, '--models')
    checkStageable(file("${moduleDir}/..", glob: false).normalize(), 'The pipeline itself:')
    if (values.precision != 'auto' && model_set.precision && !(values.precision in model_set.precision)) {
        error("--precision ${values.precision}: model set ${values.models} allows ${model_set.precision.join(', ')}")
    }
    def samples = readSamples(values.input)
    def refused = samples.findAll { _sample, fasta -> !fasta.exists() }
        .collect { sample, fasta -> [sample, "${fasta.toUriString()}: is a link that leads nowhere"] }
    if (refused && values.strict) {
        error(refused[0][1])
    }
    checkOutdir(values.outdir)
    def of_the_set = [
        expected_length: values.expected_length ?: model_set.window_length,
        score_all: values.score_all == null ? model_set.score_all : values.score_all,
    ]
    [samples: samples.findAll { _sample, fasta -> fasta.exists() }, refused: refused, model_set: model_set, options: values + of_the_set]
}

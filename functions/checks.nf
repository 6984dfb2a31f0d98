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
    def samples = values.mode == 'train' ? readDataset(values.dataset) : readSamples(values.input ?: error('--input is missing: FASTA files, or a samplesheet of them (--help lists all parameters)'))
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

// The parts of a dataset, in the order in which training takes them.
def splits() {
    ['train', 'validation', 'test']
}

// The FASTA files of a folder that `virnucpro dataset build` has made, as samples.
def readDataset(dataset) {
    if (!dataset) {
        error('--dataset is missing: --mode train needs a folder that `virnucpro dataset build` has made')
    }
    def folder = file(dataset, glob: false)
    checkStageable(folder, '--dataset')
    splits().collect { split ->
        def fasta = folder.resolve("${split}.fa.gz")
        if (!fasta.exists()) {
            error("--dataset ${dataset}: ${fasta.name} is missing; give a folder that `virnucpro dataset build` has made")
        }
        [split, fasta]
    }
}

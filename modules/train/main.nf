// Trains classifier, composition and calibration on a dataset whose frames were embedded, and puts a model set together.
process TRAIN {
    tag "${name}"
    label 'process_node'
    publishDir { task.ext.outdir }, mode: 'copy'

    input:
    val name // of the new model set
    path dataset, stageAs: 'dataset' // as `virnucpro dataset build` makes it
    path train, stageAs: 'features/train/*', arity: '1..*' // output_1_merged.pt, ...
    path validation, stageAs: 'features/validation/*', arity: '1..*'
    path test, stageAs: 'features/test/*', arity: '1..*'
    tuple path(models, stageAs: 'models'), val(fingerprint) // whose encoders made the features
    val window_length // bases
    val code // digest of the package

    output:
    path "${name}", emit: model_set
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions
    tuple val("${task.process}"), val('torch'), eval("python3 -c 'import importlib.metadata as m; print(m.version(\"torch\"))'"), topic: versions

    script:
    """
    python3 -m virnucpro train set ./dataset --output '${name}' --encoders ./models --features ./features \\
        --window-length ${window_length} --frames 1000000000 --device cpu --threads ${task.cpus}
    """

    stub:
    """
    mkdir '${name}'
    touch '${name}/manifest.json' '${name}/MODEL_CARD.md'
    """
}

// Verifies every file of the model set once, so that no later task starts on damaged weights.
process CHECK_MODELS {
    label 'process_single'

    input:
    path models, stageAs: 'models'
    val fingerprint // of the set's files: their names, sizes and times
    val code        // digest of the package

    output:
    tuple path('models'), val(fingerprint), emit: models

    script:
    """
    check_models.py ./models
    """

    stub:
    """
    test -e models/manifest.json
    """
}

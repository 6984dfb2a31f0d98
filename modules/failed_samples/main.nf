// Ends the run non-zero once all that can be done is done, and says last which samples failed, and why.
process FAILED_SAMPLES {
    label 'process_single'

    input:
    path failed // a line a sample

    script:
    """
    sed 's/^/Error: /' ${failed} >&2
    exit 1
    """

    stub:
    """
    """
}

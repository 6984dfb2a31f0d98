// One page and one record of the run, over all samples.
process REPORT {
    label 'process_single'
    publishDir { task.ext.outdir }, mode: 'copy', saveAs: { name -> name == 'run_info.json' ? "pipeline_info/${name}" : name }

    input:
    path summaries, stageAs: 'summaries/*', arity: '1..*'
    path facts, stageAs: 'facts/?/*', arity: '1..*' // files of different samples share their names
    tuple path(models, stageAs: 'models'), val(fingerprint)
    val options // JSON: the parameters of this run
    val code    // digest of the package

    output:
    path 'report.html', emit: report
    path 'run_info.json', emit: run_info
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions

    script:
    """
    cat > options.json << 'END_OF_OPTIONS'
    ${options}
    END_OF_OPTIONS
    report.py --models ./models --options options.json summaries/*.json facts/*/*.json
    """

    stub:
    """
    touch report.html
    echo '${options.replace("'", '')}' > run_info.json
    """
}

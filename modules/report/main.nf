// One page and one record of the run, over all samples.
process REPORT {
    label 'process_single'
    publishDir { task.ext.outdir }, mode: 'copy', saveAs: { name -> name == 'failed.txt' ? null : name == 'run_info.json' ? "pipeline_info/${name}" : name }

    input:
    val samples // the names of all, so that one that got lost on the way is missed
    path summaries, stageAs: 'summaries/*'
    path facts, stageAs: 'facts/?/*' // files of different samples share their names
    path refusals, stageAs: 'refused/*'
    tuple path(models, stageAs: 'models'), val(fingerprint)
    val options // JSON: the parameters of this run
    val code    // digest of the package

    output:
    path 'report.html', emit: report
    path 'run_info.json', emit: run_info
    path 'summary.tsv', emit: summary
    path 'failed.txt', emit: failed, optional: true
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions

    script:
    """
    cat > options.json << 'END_OF_OPTIONS'
    ${options}
    END_OF_OPTIONS
    printf '%s\\n' ${samples.join(' ')} > samples.txt
    shopt -s nullglob
    report.py --models ./models --options options.json --samples samples.txt --failed failed.txt \\
        summaries/*.json facts/*/*.json refused/*.json
    """

    stub:
    """
    echo '<meta name="generator" content="virnucpro">' > report.html
    printf 'sample\\tstatus\\treason\\n' > summary.tsv
    cat > run_info.json << 'END_OF_INFO'
    {"versions": {"virnucpro": "stub"}, "options": ${options}}
    END_OF_INFO
    """
}

// Turns bases and frame scores into one call per window and per input record, and counts what became of each.
process CONSENSUS {
    tag "${sample}"
    label 'per_sample'
    label 'process_single'
    publishDir { "${task.ext.outdir}/${sample}" }, mode: 'copy', saveAs: { name -> name.endsWith('_summary.json') || name.endsWith('.refused.json') ? null : name }

    input:
    tuple val(sample), path(predictions), path(fasta), path(records), path(layout)
    tuple path(models, stageAs: 'models'), val(fingerprint)
    val score_all // whether the calibrated score decides; else the original's rule
    val preset    // [] for the default
    val min_score // [] for the preset's cut-off
    val duplicate_ids // as the frames were taken: error or number
    val code      // digest of the package

    output:
    tuple val(sample), path('prediction_results_highestscore.csv'), emit: windows_v1, optional: true
    tuple val(sample), path("${sample}_contigs.tsv"), path("${sample}_windows.tsv"), path("${sample}_viral_ngs.tsv"), emit: tables, optional: true
    tuple val(sample), path("${sample}_viral.fa"), emit: viral, optional: true
    path "${sample}_summary.json", emit: summary, optional: true
    path "${sample}_mqc.json", emit: multiqc, optional: true
    path '*.refused.json', emit: refused, optional: true // instead of all these: why the sample drops out
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions

    script:
    def rule = (score_all ? '--score-all' : '--no-score-all') + (preset == [] ? '' : " --preset ${preset}") + (min_score == [] ? '' : " --min-score ${min_score}")
    """
    consensus.py --sample '${sample}' --models ./models ${rule} --fasta ${fasta} --records ${records} --layout ${layout} \\
        --duplicate-ids ${duplicate_ids} --refused '${sample}.refused.json' ${predictions}
    """

    stub:
    """
    touch prediction_results_highestscore.csv '${sample}_contigs.tsv' '${sample}_windows.tsv' '${sample}_viral_ngs.tsv' '${sample}_viral.fa'
    echo '{"sample": "${sample}"}' | tee '${sample}_summary.json' > '${sample}_mqc.json'
    """
}

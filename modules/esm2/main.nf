include { quoted } from '../../functions/shell'

// Embeds protein frames of many files, of any number of samples, with ESM-2: one task, all GPUs of its node.
process ESM2 {
    tag "${fastas.size()} file(s)${part}"
    label 'process_gpu'
    label 'process_node'
    publishDir { task.ext.outdir }, mode: 'copy', pattern: '*.h5', saveAs: { name ->
        task.ext.keep_intermediate ? "${name - '.embeddings.h5'}/intermediate/embeddings${part}.h5" : null
    }

    input:
    // part: '' or, when the work is cut into several tasks, '_1', '_2', ...; samples[i] owns fastas[i]
    tuple val(part), val(samples), path(fastas, stageAs: '?/*', arity: '1..*')
    tuple path(models, stageAs: 'models'), val(fingerprint)
    val precision
    val on_gpu // as task.accelerator says, which the strict parser leaves out of the task's hash
    val attention      // back end, or auto
    val token_budget   // tokens per batch, or auto; halved after each exit code 75 (out of GPU memory)
    val gpus           // ranks, or all
    val rank_timeout   // seconds without progress that a rank may have, or [] for the default
    val checkpoint_dir // [] for none; a plain string, as its content must not enter the task's hash
    val code           // digest of the package

    output:
    path '*.embeddings.h5', arity: '1..*', emit: embeddings
    path 'esm2.json', emit: facts
    path 'logs/rank_*.log', emit: logs, optional: true // no rank starts where no frame is open
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions
    tuple val("${task.process}"), val('torch'), eval("python3 -c 'import importlib.metadata as m; print(m.version(\"torch\"))'"), topic: versions

    script:
    def device = task.accelerator ? 'cuda' : 'cpu'
    def checkpoints = checkpoint_dir ? "--checkpoint-dir ${quoted(checkpoint_dir)}" : ''
    def patience = rank_timeout ? "--rank-timeout ${rank_timeout}" : ''
    // Attempts that a signal ended halve nothing: what was halved before them stands in the command of the last one.
    def earlier = task.previousTrace?.script =~ /--halved (\d+)/
    def halved = (earlier ? earlier[0][1].toInteger() : 0) + (task.exitStatus == 75 ? 1 : 0)
    def inputs = [samples, fastas].transpose().collect { sample, fasta -> "${sample}=${fasta}" }
    """
    esm2.py --models ./models --precision ${precision} --device ${device} --gpus ${gpus} \\
        --attention ${attention} --token-budget ${token_budget} --halved ${halved} --threads ${task.cpus} ${patience} ${checkpoints} ${inputs.join(' ')}
    """

    stub:
    def device = task.accelerator ? 'cuda' : 'cpu'
    """
    touch ${samples.unique(false).collect { sample -> "'${sample}.embeddings.h5'" }.join(' ')}
    echo '{"stage": "ESM2", "device": "${device}"}' > esm2.json
    mkdir logs
    touch logs/rank_0.log
    """
}

// Which files a DNABERT_S task takes: one, or several where each would else pay for loading the model.

include { inTasks } from './files'

// ['demo', output_1.fa], ... -> [['demo', 'demo'], [output_1.fa, output_2.fa]], ...
def dnabertTasks(files, options, on_gpu) {
    def at_once = tasksAtOnce(on_gpu, executorName(workflow.session.config))
    // What a killed task loses: minutes of a card, hours of a few CPUs.
    def most = Math.max(1, (on_gpu ? 300000 : 100000).intdiv(options.split_size))
    def files_per_task = { number -> filesPerTask(options.dnabert_task_files, number, at_once, most) }
    // Always one: nothing to wait for.
    files_per_task.call(Integer.MAX_VALUE) == 1
        ? files.map { sample, fasta -> [[sample], [fasta]] }
        : inTasks(files, "dnabert_s-tasks-${options.dnabert_task_files}", files_per_task).map { _part, samples, fastas -> [samples, fastas] }
}

// `wanted` is --dnabert_task_files, `files` how many the run has, `at_once` how many tasks run side by side (0: any number),
// `most` how many files `auto` ever gives one.
def filesPerTask(wanted, files, at_once, most) {
    if (wanted != 'auto') {
        return wanted.toInteger()
    }
    if (files < 16 || at_once == 0) {
        return 1
    }
    Math.min(most, (files - 1).intdiv(Math.max(4, at_once)) + 1)
}

// A scheduler may have any number of CPUs; of GPUs, nobody knows how many are free.
def tasksAtOnce(on_gpu, executor) {
    if (executor != 'local') {
        return on_gpu ? 4 : 0
    }
    Math.max(1, on_gpu ? visibleGpus() : nextflow.util.SysHelper.availCpus.intdiv(4)) // four CPUs a task: conf/base.config
}

// 'local', or the scheduler that a profile or the site's own configuration names for all tasks.
def executorName(config) {
    def general = config.executor instanceof CharSequence ? config.executor : config.executor?.name
    (config.process?.executor ?: general ?: System.getenv('NXF_EXECUTOR') ?: 'local').toString()
}

// The GPUs that conf/gpu_lease.sh hands out.
def visibleGpus() {
    def ids = System.getenv('CUDA_VISIBLE_DEVICES')
    if (ids != null) {
        return ids.tokenize(', ').size()
    }
    try {
        ['nvidia-smi', '-L'].execute().text.readLines().count { line -> line.startsWith('GPU ') }
    }
    catch (java.io.IOException _failure) {
        0
    }
}

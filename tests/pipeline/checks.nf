// Runs the checks of main.nf on many sets of parameters in one go: --cases is a JSON list of them.
// Prints one line for each, its number and what the check said. A case may also be the arguments of a function that shares
// files out among tasks: the line has what it gives.

include { checkedRun } from '../../functions/checks'
include { filesPerTask; tasksAtOnce; executorName } from '../../functions/dnabert_tasks'

def verdict(given) {
    if (given.files_per_task) {
        def (wanted, files, at_once, most) = given.files_per_task
        return "gives ${filesPerTask(wanted, files, at_once, most)}"
    }
    if (given.at_once) {
        def (on_gpu, config) = given.at_once
        return "gives ${tasksAtOnce(on_gpu, executorName(config))}"
    }
    try {
        def run = checkedRun(given, '')
        "ok ${run.samples.collect { sample, _fasta -> sample }.join(' ')}"
    }
    catch (Exception failure) {
        // A function of an included script wraps what it throws.
        [failure, failure.cause, failure.cause?.cause].find { cause -> cause?.message }.message
    }
}

workflow {
    def defaults = params.findAll { name, _value -> name != 'cases' }
    def cases = new groovy.json.JsonSlurper().parse(file(params.cases))
    cases.eachWithIndex { given, n -> println("case ${n}: ${verdict(defaults + given)}") }
}

// Runs the checks of main.nf on many sets of parameters in one go: --cases is a JSON list of them.
// Prints one line for each, its number and what the check said.

include { checkedRun } from '../../functions/checks'

def verdict(given) {
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

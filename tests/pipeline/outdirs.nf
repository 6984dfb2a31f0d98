// Takes output folders as main.nf does: --cases is a JSON list of outdir and samples.
// Prints one line for each, its number and what was said.

include { holdOutdir } from '../../functions/outdir'

def verdict(given) {
    try {
        holdOutdir(given.outdir, given.samples).call()
        'taken'
    }
    catch (Exception failure) {
        [failure, failure.cause, failure.cause?.cause].find { cause -> cause?.message }.message
    }
}

workflow {
    def cases = new groovy.json.JsonSlurper().parse(file(params.cases))
    cases.eachWithIndex { given, n -> println("case ${n}: ${verdict(given)}") }
}

// --input, whatever its form, as a list of [sample, fasta].

def readSamples(input) {
    def path = file(input, glob: false)
    if (path.isDirectory()) {
        error("--input ${input}: is a folder; give a file of sequences, a quoted glob such as '${input}/*.fa', or a samplesheet")
    }
    def samples = path.exists() ? (path.name.toLowerCase().endsWith('.csv') ? readSamplesheet(path) : [[sampleName(path), path]])
        : input =~ /[*?{\[]/ ? matching(input).collect { fasta -> [sampleName(fasta), fasta] }
        : error("--input ${input}: no such file")
    if (!samples) {
        error("--input ${input}: no file matches")
    }
    samples.each { sample, fasta ->
        checkSampleName(sample, fasta)
        checkStageable(fasta, '--input')
    }
    samples.groupBy { sample, _fasta -> sample }.each { sample, rows ->
        if (rows.size() > 1) {
            def names = rows.collect { _sample, fasta -> fasta.toUriString() }.join(' and ')
            error("two inputs are both named '${sample}': ${names}; name them apart in a samplesheet (columns sample,fasta)")
        }
    }
    samples
}

// The files of a glob in order, and the links that lead nowhere, which Nextflow passes over.
def matching(glob) {
    def folder = glob.replaceFirst(/[^\/]*[*?{\[].*$/, '') ?: './'
    def place = file(folder, glob: false)
    def links = place.scheme == 'file' && place.exists() ? files("${place.toRealPath()}/${glob - folder}", followLinks: false).findAll { path -> path.isLink() && !path.exists() } : []
    (files(glob) + links).sort()
}

// One row per sample; a relative FASTA path starts from the sheet's own folder.
def readSamplesheet(sheet) {
    def rows = sheet.getText('UTF-8').replace('\uFEFF', '').readLines().withIndex(1)
        .findAll { line, _number -> line.trim() }
        .collect { line, number -> [csvCells(line), number] }
    if (!rows) {
        error("${sheet}: is empty; the first line must be sample,fasta")
    }
    def (header, _first) = rows[0]
    ['sample', 'fasta'].each { column ->
        if (!(column in header)) {
            error("${sheet}, line 1: column '${column}' is missing; the first line must be sample,fasta")
        }
    }
    if (rows.size() == 1) {
        error("${sheet}: lists no sample")
    }
    rows.tail().collect { cells, number ->
        def row = [header, cells].transpose().collectEntries()
        if (!row.sample || !row.fasta) {
            error("${sheet}, line ${number}: needs a sample and a fasta")
        }
        if (!(row.sample ==~ /[A-Za-z0-9._+-]+/)) {
            error("${sheet}, line ${number}: sample '${row.sample}' may hold only letters, digits and . _ + -")
        }
        def fasta = row.fasta.contains('://') ? file(row.fasta, glob: false) : sheet.parent.resolve(row.fasta)
        if (!fasta.exists() || fasta.isDirectory()) {
            error("${sheet}, line ${number}: no such file: ${row.fasta}")
        }
        [row.sample, fasta]
    }
}

// 'a, "b, c"' -> ['a', 'b, c']: only commas outside quotes separate.
def csvCells(line) {
    line.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/, -1).collect { cell -> cell.trim().replaceAll(/^"|"$/, '') }
}

// The file's name without .fa(sta)(.gz) and the like; the same rule as sample_name in virnucpro/files.py.
def sampleName(fasta) {
    fasta.name.replaceFirst(/(?i)\.(fa|fasta|fna|fas|fq|fastq)(\.(gz|bgz|bz2|xz|zst))?$|\.(bam|cram)$/, '').replaceAll(/[^A-Za-z0-9._+-]/, '_')
}

// Each sample becomes a folder of the output, beside pipeline_info/ and report.html; the rule of sample_name again.
def checkSampleName(sample, fasta) {
    if (sample in ['', 'pipeline_info', 'report.html', 'summary.tsv'] || sample =~ /^[.-]/) {
        error("${fasta}: '${sample}' cannot name a sample; name it otherwise in a samplesheet (columns sample,fasta)")
    }
    if (sample.size() > 200) {
        error("${fasta}: its sample name has ${sample.size()} characters, more than 200; name it otherwise in a samplesheet (columns sample,fasta)")
    }
}

// Nextflow links every input into its tasks by a command that these names break, or worse.
def checkStageable(path, parameter) {
    def shown = groovy.json.StringEscapeUtils.escapeJava(path.toString())
    if (path.name =~ /^[-#]/ || path.toString() =~ /[\x00-\x1f\x7f$*?]|\s$/) {
        error("${parameter} ${shown}: a file name must not begin with - or #, end with a blank, or hold \$ * ? or control characters, nor may its folders; rename it, or link to it under another name")
    }
}

// ['blank', 'in/blank.fa: is no FASTA'] -> blank.refused.json, as the tasks write it
def refusalFiles(refused) {
    refused.collectFile { sample, reason -> ["${sample}.refused.json", groovy.json.JsonOutput.toJson([sample: sample, reason: reason])] }
}

// blank.refused.json -> 'blank: in/blank.fa: is no FASTA'
def refusal(file) {
    def said = new groovy.json.JsonSlurper().parseText(file.getText('UTF-8'))
    "${said.sample}: ${said.reason}"
}

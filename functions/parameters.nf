// The parameters, as nextflow_schema.json declares them: --help and the checks before anything runs.

def schemaGroups() {
    new groovy.json.JsonSlurper().parseText(file("${moduleDir}/../nextflow_schema.json", glob: false).getText('UTF-8'))['$defs'].values()
}

// The text of --help. `defaults` are the values that nextflow.config gives.
def helpText(defaults) {
    def groups = schemaGroups().collect { group ->
        def lines = group.properties.collect { name, rule ->
            def known = rule['enum'] ? " (${rule['enum'].join(', ')})" : ''
            def fallback = name in (group.required ?: []) ? ' [required]'
                : defaults[name] == null || rule.description.contains('[default') || name == 'help' ? ''
                : " [default: ${defaults[name]}]"
            "  --${name.padRight(18)} ${rule.description}${known}${fallback}"
        }
        "${group.title}\n${lines.join('\n')}"
    }
    "Usage: nextflow run main.nf -profile <profiles> --input reads.fa --outdir results\n\n${groups.join('\n\n')}\n\n" +
        "Profiles, in any order: test, gpu, local, docker (the default engine), podman, singularity, apptainer, slurm, awsbatch, k8s"
}

// The given parameters as a map of checked, typed values; a wrong one stops the run with one line.
def checkedParameters(given, command_line) {
    def rules = schemaGroups().collectEntries { group -> group.properties }
    given.keySet().findAll { name -> !(name in rules) }.each { name ->
        // Nextflow turns --min-score into minScore.
        def plain = name.toLowerCase().replaceAll(/[-_]/, '')
        def near = rules.keySet().find { known -> known.replace('_', '') == plain }
        error("--${name} is not a parameter of this pipeline${near ? "; --${near} is" : ''} (--help lists them all)")
    }
    schemaGroups().each { group ->
        (group.required ?: []).each { name ->
            if (given[name] == null) {
                error("--${name} is missing: ${group.properties[name].description} (--help lists all parameters)")
            }
        }
    }
    given.findAll { name, value -> value instanceof Number && rules[name].type == 'string' }.each { name, value ->
        def typed = (command_line =~ "--${name}[ =](\\S+)").collect { found -> found[1] }.reverse().find()
        if (typed && typed != value.toString()) {
            error("--${name} ${typed}: Nextflow takes this for the number ${value}; put ./ before a folder, or give it in a -params-file, in quotes")
        }
    }
    rules.collectEntries { name, rule -> [name, given[name] == null ? null : typedValue(name, rule, given[name])] }
}

def typedValue(name, rule, value) {
    def text = value.toString()
    if (rule.type == 'boolean') {
        if (!(text in ['true', 'false'])) {
            error("--${name} ${text}: must be true or false")
        }
        return text == 'true'
    }
    if (value instanceof Boolean || text.trim() == '') {
        error("--${name} needs a value: ${rule.description}")
    }
    if (rule.type == 'string') {
        if (rule['enum'] && !(text in rule['enum'])) {
            error("--${name} ${text}: must be one of ${rule['enum'].join(', ')}")
        }
        if (rule.pattern && !text.matches(rule.pattern)) {
            error("--${name} ${text}: must be ${rule.pattern.tokenize('|')[0]} or a whole number from 1 on")
        }
        return text
    }
    def whole = rule.type == 'integer'
    if (!(whole ? text.matches(/-?\d{1,9}/) : text.isBigDecimal())) {
        error("--${name} ${text}: must be a ${whole ? 'whole ' : ''}number")
    }
    def number = whole ? text.toInteger() : text.toBigDecimal()
    if (rule.minimum != null && number < rule.minimum) {
        error("--${name} ${text}: must be at least ${rule.minimum}")
    }
    if (rule.maximum != null && number > rule.maximum) {
        error("--${name} ${text}: must be at most ${rule.maximum}")
    }
    number
}

// Makes sure that results can be written, before hours of work go into them.
def checkOutdir(outdir) {
    def folder = file(outdir, glob: false)
    if (folder.scheme != 'file') {
        return
    }
    try {
        java.nio.file.Files.createDirectories(folder)
        java.nio.file.Files.delete(java.nio.file.Files.createTempFile(folder, '.writable', ''))
    }
    catch (java.io.IOException failure) {
        error("--outdir ${outdir}: cannot be written (${failure.class.simpleName}: ${failure.message}); choose another folder")
    }
}

// Makes the folder of --checkpoint_dir, so that a container can mount it, and gives its absolute path; [] for none.
def checkpointFolder(checkpoint_dir) {
    if (!checkpoint_dir) {
        return []
    }
    def folder = file(checkpoint_dir, glob: false)
    folder.mkdirs()
    folder.toUriString()
}

// What the report shows; not the values that only say where results go.
def reportedOptions(options) {
    groovy.json.JsonOutput.toJson(options.findAll { name, _value -> !(name in ['outdir', 'keep_intermediate', 'checkpoint_dir', 'help']) })
}

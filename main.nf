// virnucpro: tell viral sequences from everything else in a metagenome.
//
//   FASTA -> EXTRACT_FRAMES -> DNABERT_S                    -> MERGE -> PREDICT -> CONSENSUS -> REPORT
//                           -> ESM2 -> H5_TO_PT (or ESM2_V1) ->
//   --mode train: the same as far as MERGE, with the FASTA files of a dataset, then TRAIN

include { helpText; checkpointFolder; reportedOptions } from './functions/parameters'
include { checkedRun; splits } from './functions/checks'
include { codeDigest     } from './functions/models'
include { holdOutdir     } from './functions/outdir'
include { groupFiles; inTasks; bySample } from './functions/files'
include { dnabertTasks   } from './functions/dnabert_tasks'
include { refusal; refusalFiles } from './functions/samples'
include { CHECK_MODELS   } from './modules/check_models'
include { EXTRACT_FRAMES } from './modules/extract_frames'
include { DNABERT_S      } from './modules/dnabert_s'
include { ESM2           } from './modules/esm2'
include { ESM2_V1        } from './modules/esm2_v1'
include { H5_TO_PT       } from './modules/h5_to_pt'
include { MERGE          } from './modules/merge'
include { PREDICT        } from './modules/predict'
include { TRAIN          } from './modules/train'
include { CONSENSUS      } from './modules/consensus'
include { REPORT         } from './modules/report'
include { FAILED_SAMPLES } from './modules/failed_samples'

workflow VIRNUCPRO {
    take:
    samples   // ['demo', demo.fa.gz]
    refused   // ['blank', 'in/blank.fa: is a link that leads nowhere']: samples that cannot be read at all
    model_set // [path: models/, window_length: 500, fingerprint: '9f...']
    options   // the checked parameters: [split_size: 10000, precision: 'auto', ...]

    main:
    def code = codeDigest()
    def on_gpu = 'gpu' in workflow.profile.tokenize(',')
    models = CHECK_MODELS(model_set.path, model_set.fingerprint, code).models // [models/, '9f...']

    // Bad input is one bad sample: it drops out and is reported; with --strict it stops the run.
    EXTRACT_FRAMES(samples, options.expected_length, options.split_size, options.duplicate_ids, code)
    nucleotide = EXTRACT_FRAMES.out.nucleotide.transpose() // ['demo', output_1.fa]
    protein = EXTRACT_FRAMES.out.protein.transpose()       // ['demo', output_1.fa]
    // A sample's number of files, so that it goes on as soon as its own are done: ['demo', 3]
    sizes = EXTRACT_FRAMES.out.protein.map { sample, fastas -> [sample, fastas.size()] }

    // A task takes one file, or several of any samples: [['demo', 'demo'], [output_1.fa, output_2.fa]]
    DNABERT_S(dnabertTasks(nucleotide, options, on_gpu), models, options.precision, on_gpu, options.attention, code)
    dnabert_files = DNABERT_S.out.embeddings.flatMap { owners, files -> bySample(owners, files) } // ['demo', output_1_DNABERT_S.pt]
    dnabert = groupFiles(dnabert_files, sizes) // ['demo', [output_1_DNABERT_S.pt, ...]]

    if (options.v1_fallback) {
        ESM2_V1(protein, models, options.precision, on_gpu, code)
        esm_files = ESM2_V1.out.embeddings // ['demo', output_1_ESM.pt]
        esm_facts = ESM2_V1.out.facts
    }
    else {
        // One task for all files, or several of at most `files_per_task`: ['_1', ['demo', 'demo'], [output_1.fa, output_2.fa]]
        def files_per_task = options.esm_task_size ? Math.max(1, options.esm_task_size.intdiv(options.split_size)) : 0 // 0: all
        esm_tasks = inTasks(protein, "esm2-tasks-${files_per_task}") { _files -> files_per_task }
        ESM2(esm_tasks, models, options.precision, on_gpu, options.attention, options.token_budget, options.gpus, options.rank_timeout ?: [], checkpointFolder(options.checkpoint_dir), code)
        stores = ESM2.out.embeddings.flatten().map { h5 -> [h5.name - '.embeddings.h5', h5] } // ['demo', demo.embeddings.h5]
        H5_TO_PT(stores.combine(dnabert, by: 0), code)
        esm_files = H5_TO_PT.out.embeddings.transpose() // ['demo', output_1_ESM.pt]
        esm_facts = ESM2.out.facts
    }
    esm = groupFiles(esm_files, sizes) // ['demo', [output_1_ESM.pt, ...]]

    MERGE(dnabert.join(esm), code)
    if (options.mode == 'train') {
        def (train, validation, test) = splits().collect { split -> MERGE.out.merged.filter { sample, _files -> sample == split }.map { _sample, files -> files } }
        TRAIN("${model_set.path.name}-trained", file(options.dataset, glob: false), train, validation, test, models, options.expected_length, code)
    }
    else {
        PREDICT(MERGE.out.merged, models, code)
        // ['demo', prediction_results.txt, demo.fa.gz, demo_records.tsv, demo_layout.tsv]
        calls = PREDICT.out.predictions.join(samples).join(EXTRACT_FRAMES.out.tables)
        CONSENSUS(calls, models, options.score_all, options.preset ?: [], options.min_score == null ? [] : options.min_score, options.duplicate_ids, code)
        refusals = refusalFiles(refused).mix(EXTRACT_FRAMES.out.refused, CONSENSUS.out.refused)
        if (options.strict) {
            refusals.subscribe { file -> error(refusal(file)) }
        }
        names = samples.map { sample, _fasta -> sample }.mix(refused.map { sample, _reason -> sample })
        REPORT(
            names.collect(sort: true),
            CONSENSUS.out.summary.collect(sort: true).ifEmpty([]),
            DNABERT_S.out.facts.flatten().mix(esm_facts).collect(sort: true).ifEmpty([]),
            refusals.collect(sort: true).ifEmpty([]),
            models,
            reportedOptions(options),
            code
        )
        FAILED_SAMPLES(REPORT.out.failed)
    }
}

workflow {
    main:
    if (params.help) {
        println(helpText(params))
    }
    else {
        def run = checkedRun(params, workflow.commandLine)
        def release = holdOutdir(run.options.outdir, (run.samples + run.refused).collect { row -> row[0] })
        def info = "${run.options.outdir}/pipeline_info"
        log.info("virnucpro ${workflow.manifest.version}: ${run.options.mode == 'train' ? "training on ${run.options.dataset}" : "${run.samples.size()} sample(s)"}, models ${run.model_set.path.name}, " +
            (run.options.v1_fallback ? 'Architecture: v1.0 (--v1_fallback)' : 'Architecture: v2.0 hybrid (ESM-2 v2.0, DNABERT-S v1.0)'))

        if (run.model_set.notice) {
            log.info(run.model_set.notice)
        }
        run.refused.each { sample, reason -> log.error("${sample}: ${reason}") }

        VIRNUCPRO(channel.fromList(run.samples), channel.fromList(run.refused), run.model_set, run.options)

        // EXTRACT_FRAMES: {python: '3.11.2'}
        channel.topic('versions')
            .unique()
            .map { process, tool, version -> [process.tokenize(':')[-1], "${tool}: '${version}'"] }
            .groupTuple(sort: true)
            .map { process, tools -> "${process}: {${tools.join(', ')}}" }
            .mix(channel.of("Workflow: {virnucpro: '${workflow.manifest.version}', nextflow: '${nextflow.version}'}".toString()))
            .collectFile(name: 'versions.yml', storeDir: info, newLine: true, sort: true)

        workflow.onComplete = {
            release.call()
            if (file("${run.options.outdir}/report.html", glob: false).exists()) {
                log.info("Report: ${run.options.outdir}/report.html")
            }
        }
    }
}

use lm::sft::*;
use lm::trainer::*;
use lm::*;
fn main() {
    let d = DeviceKind::Cpu.open().unwrap();
    let c = Gpt2Config {
        vocab_size: 4096,
        n_positions: 64,
        n_embd: 192,
        n_layer: 4,
        n_head: 6,
        layer_norm_epsilon: 1e-5,
    };
    println!("{}", c.parameters());
    let m = Gpt2::init(&c, Stream::new(1, "w"), &d).unwrap();
    let p = Policy::new(m, 1.0, 0).unwrap();
    let docs: Vec<Vec<u32>> =
        (0..200).map(|i| (0..300).map(|j| ((i * 7 + j * 13) % 4096) as u32).collect()).collect();
    let corpus = Corpus::Documents { documents: docs, context: 65, opening_share: 0.5, end: 0 };
    let cfg = SftConfig {
        steps: 100,
        batch_size: 32,
        optimizer: OptimizerConfig {
            algorithm: Algorithm::Adamw { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 },
            learning_rate: 1e-3,
            schedule: Schedule { warmup_steps: 5, decay: Decay::Constant, floor: 1.0 },
            max_grad_norm: 1.0,
        },
    };
    let mut t = SftTrainer::new(&p, corpus, &cfg, 1).unwrap();
    let s = std::time::Instant::now();
    let n: usize = std::env::args().nth(1).map_or(5, |a| a.parse().unwrap());
    for i in 0..n {
        let m = t.step().unwrap();
        if i == n - 1 || i == 0 {
            println!("{:?}", m);
        }
    }
    println!("train {:.0} tok/s", t.tokens() as f64 / s.elapsed().as_secs_f64());
    let p = t.policy();
    let prompts: Vec<Vec<u32>> = vec![vec![0, 5, 7, 9]; 64];
    let s = std::time::Instant::now();
    let g =
        p.generate(&prompts, &Sampling { max_new_tokens: 32, batch_size: 64 }, Stream::new(1, "g")).unwrap();
    println!(
        "gen {:.0} tok/s",
        g.iter().map(|g| g.response.len()).sum::<usize>() as f64 / s.elapsed().as_secs_f64()
    );
    let seqs: Vec<Sequence> =
        g.iter().map(|g| Sequence { prompt: vec![0, 5, 7, 9], response: g.response.clone() }).collect();
    let s = std::time::Instant::now();
    let sc = p.score(&seqs).unwrap();
    println!(
        "score {:.0} tok/s",
        seqs.iter().map(|g| g.len()).sum::<usize>() as f64 / s.elapsed().as_secs_f64()
    );
    let worst = g
        .iter()
        .zip(&sc)
        .flat_map(|(g, s)| g.logprobs.iter().zip(s))
        .map(|(a, b)| (a - b).abs())
        .fold(0.0f32, f32::max);
    println!("worst {worst}");
    let r = ReferencePolicy::new(&p);
    let s = std::time::Instant::now();
    let kl = p.sequence_kl(&r, &seqs).unwrap();
    println!("kl {:?} in {:?}", kl[0], s.elapsed());
}

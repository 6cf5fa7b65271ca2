//! A lab role for tests: sandboxes that answer as the test says.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

/// Listens in a directory. Each case is answered by `answer` from its bytes, the number of the sandbox, and the lowest byte of its owner;
/// without an answer the sandbox ends. Gives the socket, and how many sandboxes there are.
pub(crate) fn lab_role(
    directory: &Path,
    answer: impl Fn(&[u8], u8, u8) -> Option<Vec<u8>> + Clone + Send + 'static,
) -> (PathBuf, Arc<AtomicUsize>) {
    let path = directory.join("lab.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let open = Arc::new(AtomicUsize::new(0));
    let counted = open.clone();
    tokio::spawn(async move {
        for number in 0_u8.. {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let (counted, answer) = (counted.clone(), answer.clone());
            tokio::spawn(async move {
                let mut request = [0; 6];
                stream.read_exact(&mut request).await.expect("a request");
                counted.fetch_add(1, Ordering::SeqCst);
                stream.write_all(&[0]).await.expect("granted");
                while let Ok(length) = stream.read_u32_le().await {
                    let mut case = vec![0; length as usize];
                    stream.read_exact(&mut case).await.expect("a case");
                    let Some(body) = answer(&case, number, request[2]) else { break };
                    let length = u32::try_from(body.len()).expect("short").to_le_bytes();
                    stream.write_all(&[&length[..], &body].concat()).await.expect("an answer");
                }
                counted.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (path, open)
}

//! Reconcile over member streams: both sides run the same session of `artdag_core`, one asked for
//! it. It is the truth behind gossip, so it runs at every join and every few seconds.

use std::{io, time::Duration};

use artdag_blockstore::Table;
use artdag_core::records::{
    Reject,
    reconcile::{MAX_MESSAGE_BYTES, Message, Send, Session},
};
use artdag_network::{Network, PeerId, Plane, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::debug;

use super::RecordsHandle;
use crate::{
    clock, entropy,
    task::{Tasks, blocking},
};

/// A random member is asked this often.
const INTERVAL_MS: u64 = 3000;
/// How often to look whether somebody new has come, who is asked at once.
const LOOK_MS: u64 = 200;
/// A session that takes longer is ended; the next one goes on.
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);
/// Sessions answered at once.
const ANSWERS_MAX: usize = 8;

/// Asks each new member at once and a random one every few seconds.
pub async fn initiate(records: RecordsHandle, network: Network) {
    let mut greeted: Vec<PeerId> = Vec::new();
    let mut waited_ms = 0;
    loop {
        let members = network.members();
        greeted.retain(|peer| members.contains(peer));
        let new = members.iter().find(|peer| !greeted.contains(peer)).cloned();
        let asked = match new {
            Some(peer) => {
                greeted.push(peer);
                Some(peer)
            }
            None if waited_ms >= INTERVAL_MS && !members.is_empty() => {
                waited_ms = 0;
                members.get(entropy::index(members.len())).cloned()
            }
            None => None,
        };
        if let Some(peer) = asked {
            if let Err(error) = ask(&records, &network, &peer).await {
                debug!(%peer, %error, "reconcile broke off");
            }
        } else {
            clock::sleep_ms(LOOK_MS).await;
            waited_ms += LOOK_MS;
        }
    }
}

/// Answers members that ask.
pub async fn answer(records: RecordsHandle, network: Network, tasks: Tasks) {
    let mut incoming = network.accept(Plane::Reconcile);
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(ANSWERS_MAX));
    while let Some((peer, stream)) = incoming.next().await {
        // One that finds no place is dropped and asks again in a few seconds.
        let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
        let records = records.clone();
        tasks.spawn_until_stop("reconcile answer", async move {
            let _permit = permit;
            if let Err(error) = bounded(&records, stream).await {
                debug!(%peer, %error, "reconcile broke off");
            }
        });
    }
}

async fn ask(records: &RecordsHandle, network: &Network, peer: &PeerId) -> io::Result<()> {
    let stream = network.open(peer, Plane::Reconcile).await.map_err(io::Error::other)?;
    bounded(records, stream).await
}

async fn bounded(records: &RecordsHandle, stream: Stream) -> io::Result<()> {
    match tokio::time::timeout(SESSION_TIMEOUT, converse(records, stream)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Reads and writes at once, so that two sides that both have much to say do not wait for each
/// other.
async fn converse(records: &RecordsHandle, stream: Stream) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let session = tokio::sync::Mutex::new(Session::default());
    let heard = tokio::sync::Notify::new();
    let talk = async {
        loop {
            let next = session.lock().await.next_send(&records.lock());
            match next {
                Some(send) => write(&mut writer, &encode(records, send).await?).await?,
                None if session.lock().await.is_over() => return writer.shutdown().await,
                None => heard.notified().await,
            }
        }
    };
    let listen = async {
        while !session.lock().await.is_over() {
            let message = Message::decode(&read(&mut reader).await?).map_err(io::Error::other)?;
            let done = matches!(message, Message::Done);
            let items = session.lock().await.receive(message).map_err(io::Error::other)?;
            for item in items {
                // What is not taken now comes again; what is invalid ends the session.
                if let Err(Reject::Invalid(why)) = records.receive(item).await {
                    return Err(io::Error::other(why));
                }
            }
            heard.notify_one();
            if done {
                return Ok(());
            }
        }
        Ok(())
    };
    tokio::try_join!(talk, listen).map(drop)
}

async fn encode(records: &RecordsHandle, send: Send) -> io::Result<Vec<u8>> {
    let message = match send {
        Send::Hello(vector) => Message::Hello(vector),
        Send::Done => Message::Done,
        Send::Batches(keys) => {
            let store = records.inner.store.clone();
            let read = blocking(move || {
                let stored = keys.iter().map(|key| store.state().get(Table::Records, &key.to_bytes()));
                stored.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
            });
            Message::Batches(read.await.map_err(io::Error::other)?)
        }
    };
    Ok(message.encode())
}

/// Frames are a big-endian u32 length and the message.
async fn write(writer: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    writer.write_all(&length.to_be_bytes()).await?;
    writer.write_all(message).await?;
    writer.flush().await
}

async fn read(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    reader.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(io::Error::other("a message is too long"));
    }
    let mut message = vec![0; length];
    reader.read_exact(&mut message).await?;
    Ok(message)
}
